from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from forge.base.errors import ConfigError, ConfigNotFoundError, ConfigSyntaxError
from forge.base.places import library_configs, shipped_projects
from forge.compose.composer import compose_fresh
from forge.compose.project import Project, find_project, projects_below

if TYPE_CHECKING:
    from pathlib import Path


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(autouse=True)
def _own_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORGE_CONFIG_HOME", str(tmp_path / "user"))
    monkeypatch.chdir(tmp_path)


def folders(project: Project) -> list[str]:
    """The project's roots without the user's own and the library."""
    assert project.roots[-1].folder == library_configs()
    assert [root.layer for root in project.roots[-2:]] == ["user", "library"]
    return [root.folder for root in project.roots[:-2]]


# ---- finding


def test_a_project_is_found_from_any_folder_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, {"p/project.yaml": "name: fine\n", "p/configs/deep/er/x.yaml": "a: 1\n"})
    for place in ("p", "p/configs", "p/configs/deep/er", "p/configs/deep/er/x.yaml", "p/project.yaml"):
        assert find_project(str(tmp_path / place)).folder == str(tmp_path / "p")
        assert find_project(place).folder == str(tmp_path / "p")
    monkeypatch.chdir(tmp_path / "p/configs/deep")
    assert find_project().name == "fine"
    assert find_project("..").name == "fine"


def test_the_nearest_project_wins(tmp_path: Path) -> None:
    write(tmp_path, {"p/project.yaml": "name: outer\n", "p/in/project.yaml": "name: inner\n", "p/in/x/y": ""})
    assert find_project("p/in/x").name == "inner"
    assert find_project("p").name == "outer"


def test_a_project_is_found_by_its_name_beside_below_and_among_the_shipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, {"one/project.yaml": "", "projects/two/project.yaml": "", "below/x": ""})
    assert find_project("one").folder == str(tmp_path / "one")
    assert find_project("two").folder == str(tmp_path / "projects" / "two")
    monkeypatch.chdir(tmp_path / "below")
    assert find_project("one").folder == str(tmp_path / "one")
    assert find_project("pydoc").folder == os.path.join(shipped_projects(), "pydoc")


def test_without_any_project_it_is_the_shipped_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(write(tmp_path, {"nothing/x": ""}) / "nothing")
    assert find_project().name == "pydoc"


@pytest.mark.parametrize("start", ["gone", "", "nowhere/x", "\0", "x" * 5000, "a\nb", "..."])
def test_a_project_that_is_not_there_is_a_mistake(start: str) -> None:
    with pytest.raises(ConfigNotFoundError, match="there is no project"):
        find_project(start)


def test_a_misspelt_project_gets_a_suggestion(tmp_path: Path) -> None:
    write(tmp_path, {"samantha/project.yaml": ""})
    with pytest.raises(ConfigNotFoundError, match="did you mean 'samantha'"):
        find_project("samanta")


def test_the_projects_below_a_folder_are_listed_in_order(tmp_path: Path) -> None:
    write(
        tmp_path,
        {"b/project.yaml": "", "a/c/project.yaml": "", "b/in/project.yaml": "", ".hid/project.yaml": "", "_x/project.yaml": "", "node_modules/m/project.yaml": ""},
    )  # fmt: skip
    assert list(projects_below(str(tmp_path))) == [str(tmp_path / "a/c"), str(tmp_path / "b")]


# ---- what a project stands on


def test_a_project_without_a_word_has_sensible_settings(tmp_path: Path) -> None:
    found = find_project(str(write(tmp_path, {"p/project.yaml": ""}) / "p"))
    assert (found.name, found.description, found.default_config) == ("p", "", None)
    assert folders(found) == [str(tmp_path / "p/configs")]
    assert found.source_folders == (str(tmp_path / "p/src"),)


def test_a_search_path_is_transitive_and_each_folder_is_there_once(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "top/project.yaml": "search_path: [left, right, ./own, ../loose/]\nsource: code\n",
            "top/own/x": "", "loose/x": "",
            "left/project.yaml": "search_path: [base]\ngroups: [prompt]\n",
            "right/project.yaml": "search_path: [base, ../loose]\n",
            "base/project.yaml": "groups: [prompt, voice]\n",
        },
    )  # fmt: skip
    found = find_project("top")
    assert folders(found) == [
        str(tmp_path / name)
        for name in ("top/configs", "left/configs", "base/configs", "right/configs", "loose", "top/own")
    ]
    assert [root.layer for root in found.roots] == ["project", *["search path"] * 5, "user", "library"]
    assert found.source_folders == tuple(
        str(tmp_path / name) for name in ("top/code", "left/src", "base/src", "right/src")
    )
    assert found.own_groups == ("prompt", "voice")
    assert [os.path.dirname(file) for file in found.project_files] == [
        str(tmp_path / name) for name in ("top", "left", "base", "right")
    ]


def test_projects_that_stand_on_each_other_end(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "a/project.yaml": "search_path: [b, a, .]\n",
            "b/project.yaml": "search_path: [c]\n",
            "c/project.yaml": "search_path: [a]\n",
        },
    )
    assert [os.path.basename(os.path.dirname(folder)) for folder in folders(find_project("a"))][:3] == ["a", "b", "c"]
    assert find_project("b").project_files[0] == str(tmp_path / "b/project.yaml")


def test_a_config_of_a_project_stood_on_is_used_by_its_name(tmp_path: Path) -> None:
    write(
        tmp_path,
        {"p/project.yaml": "search_path: [data]\n", "p/configs/run.yaml": "defaults: [dataset: talk]\n", "data/project.yaml": "", "data/configs/dataset/talk.yaml": "x: 1\n"},
    )  # fmt: skip
    found = compose_fresh(find_project("p"), "run")
    assert found.tree == {"dataset": {"x": 1}}
    assert found.origin(("dataset", "x")).layer == "search path"
    assert [file.layer for file in found.files] == ["search path", "project"]


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("name: x\nserch_path: []\n", 2, "a project has no 'serch_path'\n  did you mean 'search_path'?"),
        ("name: x\nzzz: 1\n", 2, "a project has no 'zzz'\n  known: name"),
        ("name: 3\n", 1, "'name' must be"),
        ("search_path: other\n", 1, "'search_path' must be a list"),
        ("groups: {a: 1}\n", 1, "'groups' must be a list"),
        ("groups: [[a]]\n", 1, "groups"),
        ("groups: [{a: 1}]\n", 1, "groups"),
        ("search_path: [[a]]\n", 1, "search_path"),
        ("search_path: [3]\n", 1, "search_path"),
        ("search_path: [null]\n", 1, "search_path"),
        ("- a\n", 1, "a project file holds 'key: value' lines"),
        ("a: ]\n", 1, "not valid YAML"),
        ("x\n", 1, "single value"),
        ("\nsearch_path: [gone]\n", 2, "there is no project 'gone'\n  write a folder as ./folder"),
        ("\nsearch_path: [./gone]\n", 2, "the folder './gone' is not there"),
        ('search_path: ["./a\\0b"]\n', 1, "not there"),
        ('search_path: ["a\\0b"]\n', 1, "there is no project"),
        ("search_path: ['']\n", 1, "search_path"),
        ("search_path: [/no/such/folder]\n", 1, "the folder '/no/such/folder' is not there"),
        ("search_path: [./" + "x" * 5000 + "]\n", 1, "is not there"),
        ("defaults: [a]\n", 0, "a project has no 'defaults'"),
    ],
)  # fmt: skip
def test_a_wrong_project_file_is_a_mistake_with_its_line(tmp_path: Path, text: str, line: int, message: str) -> None:
    write(tmp_path, {"p/project.yaml": text})
    with pytest.raises(ConfigError) as caught:
        pytest.fail(str(find_project("p")))
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"p/project.yaml:{line}" if line else "p/project.yaml"), str(caught.value)


def test_a_mistake_in_a_project_stood_on_names_that_file(tmp_path: Path) -> None:
    write(tmp_path, {"p/project.yaml": "search_path: [q]\n", "q/project.yaml": "oops: 1\n"})
    with pytest.raises(ConfigSyntaxError, match=r"^q/project\.yaml:1"):
        find_project("p")


# ---- configs and groups

LAYOUT = {
    "p/project.yaml": "default_config: run/big.yaml\ngroups: [prompt]\nsearch_path: [data]\n",
    "p/configs/plain.yaml": "a: 1\n",
    "p/configs/_base.yaml": "a: 1\n",
    "p/configs/.hidden.yaml": "a: 1\n",
    "p/configs/notes.yml": "a: 1\n",
    "p/configs/run/big.yaml": "# @package _global_\na: 2\n",
    "p/configs/run/_part.yaml": "# @package _global_\na: 2\n",
    "p/configs/run/no_header.yaml": "a: 2\n",
    "p/configs/prompt/kind.yaml": "a: 2\n",
    "p/configs/prompt/_base.yaml": "a: 2\n",
    "p/configs/model/own.yaml": "# @package _global_\na: 2\n",
    "p/configs/dataset/mine.yaml": "a: 2\n",
    "data/project.yaml": "",
    "data/configs/dataset/talk.yaml": "a: 3\n",
    "data/configs/deep/group/one.yaml": "a: 3\n",
}


def test_configs_are_the_files_that_are_no_choices(tmp_path: Path) -> None:
    found = find_project(str(write(tmp_path, LAYOUT) / "p"))
    assert [config.name for config in found.configs()] == ["plain", "run/big"]
    assert [config.file for config in found.configs()] == [
        str(tmp_path / f"p/configs/{name}.yaml") for name in ("plain", "run/big")
    ]


def test_groups_are_the_folders_with_choices_of_all_roots(tmp_path: Path) -> None:
    groups = find_project(str(write(tmp_path, LAYOUT) / "p")).groups()
    assert groups["dataset"][:1] == ["mine"] or "mine" in groups["dataset"]
    assert "talk" in groups["dataset"]
    assert groups["prompt"] == ["kind"]
    assert groups["deep/group"] == ["one"]
    assert groups["run"] == ["no_header"]
    assert "own" in groups["model"]
    assert list(groups) == sorted(groups)


def test_odd_files_do_not_stop_the_listing(tmp_path: Path) -> None:
    write(
        tmp_path,
        {"p/project.yaml": "", "p/configs/good.yaml": "a: 1\n", "p/configs/run/x.yaml": "# @package _global_\n"},
    )
    configs = tmp_path / "p/configs"
    (configs / "run/dangling.yaml").symlink_to("nowhere")
    (configs / "run/loop").symlink_to("..")
    (configs / "folder.yaml").mkdir()
    (configs / "run/empty.yaml").write_bytes(b"")
    (configs / "run/binary.yaml").write_bytes(bytes(range(256)))
    os.mkfifo(configs / "run/pipe.yaml")
    found = find_project("p")
    assert [config.name for config in found.configs()] == ["good", "run/x"]
    assert "folder" not in str(found.groups())


@pytest.mark.parametrize(
    "given",
    ["plain", "plain.yaml", "configs/plain", "configs/plain.yaml", "./configs/plain.yaml", "/plain", "ABSOLUTE"],
)
def test_a_config_is_named_in_many_ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    write(tmp_path, LAYOUT)
    monkeypatch.chdir(tmp_path / "p")
    found = find_project()
    given = given.replace("ABSOLUTE", str(tmp_path / "p/configs/plain.yaml"))
    assert found.config_name(given) == "plain"
    monkeypatch.chdir(tmp_path)
    if "configs" not in given or given.startswith("/"):
        assert found.config_name(given) == "plain"
    assert found.config_name("p/configs/plain.yaml") == "plain"


def test_no_name_is_the_default_config(tmp_path: Path) -> None:
    found = find_project(str(write(tmp_path, LAYOUT) / "p"))
    assert found.config_name(None) == "run/big"
    assert found.config_name("") == "run/big"
    with pytest.raises(ConfigNotFoundError, match=r"has no default config\n.*forge ls"):
        find_project(str(tmp_path / "data")).config_name(None)


@pytest.mark.parametrize(
    ("given", "hint"),
    [("plian", "did you mean 'plain'?"), ("run/bgi", "did you mean 'run/big'?"), ("zzzzzz", "it has: plain, run/big"), ("\0", "it has"), ("x" * 5000, "it has"), (".", "it has"), ("run", "run/big")],
)  # fmt: skip
def test_a_config_that_is_not_there_is_a_mistake_with_a_suggestion(tmp_path: Path, given: str, hint: str) -> None:
    found = find_project(str(write(tmp_path, LAYOUT) / "p"))
    with pytest.raises(ConfigNotFoundError) as caught:
        pytest.fail(found.config_name(given))
    assert hint in str(caught.value)


# ---- nothing outside the roots is read

WATCHED = """
import json, os, sys
outside = os.path.realpath(sys.argv[2])
opened = []
def hook(event, args):
    if event in ("open", "os.listdir", "os.scandir") and args and isinstance(args[0], (str, bytes)):
        path = os.path.realpath(os.fsdecode(args[0]))
        if path == outside or path.startswith(outside + os.sep):
            opened.append([event, path])
from forge.base.errors import ForgeError
from forge.compose.composer import compose_fresh
from forge.compose.project import find_project
project = find_project(sys.argv[1])
compose_fresh(project, "plain")  # what is imported is imported
sys.addaudithook(hook)
results = []
for name, overrides in json.loads(sys.argv[3]):
    for problems in (None, []):
        try:
            name = project.config_name(name) if name != "-" else name
            results.append(repr(compose_fresh(project, name, overrides, problems=problems).tree))
        except ForgeError as error:
            results.append(str(error))
print(json.dumps([opened, results]))
"""


def test_no_name_choice_or_default_reads_outside_the_roots(tmp_path: Path) -> None:
    outside = write(
        tmp_path / "outside",
        {"secret.yaml": "leak: hunter2\n", "secret": "leak: hunter2\n", "group/secret.yaml": "leak: hunter2\n"},
    )
    bad = {
        "one": "- ../../outside/secret", "two": "- /../../outside/secret", "three": "- db: ../../../outside/secret", "four": "- ../../outside: secret",
        "five": "- /../../outside/group: secret", "six": f"- {outside}/secret", "seven": f"- db: {outside}/secret", "eight": "- optional ../../outside: secret",
        "nine": "- db/../../../outside/secret", "ten": '- "../../outside/secret\\0"', "eleven": "- db: [a, ../../../outside/secret]", "twelve": "- db@_global_: ../../../outside/secret",
        "thirteen": "- ./../../outside/secret", "fourteen": f"- {outside}: secret",
    }  # fmt: skip
    write(
        tmp_path,
        {"p/project.yaml": "", "p/configs/plain.yaml": "a: 1\ndefaults: [db: a]\n", "p/configs/db/a.yaml": "x: 1\n"},
    )
    write(tmp_path / "p/configs", {f"{name}.yaml": f"defaults:\n{line}\n" for name, line in bad.items()})
    cases: list[tuple[str, list[str]]] = [(name, []) for name in bad]
    names = [
        "../../outside/secret",
        "../../outside/secret.yaml",
        f"{outside}/secret",
        f"{outside}/secret.yaml",
        "db/../../../outside/secret",
        "../configs/../../outside/secret",
        "..",
        "x" * 5000,
        "plain\0",
    ]
    cases += [(name, []) for name in names]
    choices = [
        "../../../outside/secret",
        f"{outside}/secret",
        "../../../outside/secret.yaml",
        "a/../../../../outside/secret",
        "x" * 5000,
        "..",
        "[a,../../../outside/secret]",
    ]
    cases += [("plain", [f"{prefix}{choice}"]) for choice in choices for prefix in ("db=", "+db@other=")]
    cases += [
        ("plain", [override])
        for override in (
            "+../../outside=secret",
            "+../../outside/group=secret",
            f"+{outside}=secret",
            "+db/../../../outside=secret",
            "../../outside=secret",
            "~../../outside",
        )
    ]
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, str(tmp_path / "p"), str(outside), json.dumps(cases)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    opened, results = json.loads(done.stdout)
    assert opened == []
    assert not [result for result in results if "hunter2" in result]
    assert len(results) == 2 * len(cases)
