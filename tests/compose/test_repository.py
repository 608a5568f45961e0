from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from forge.base.errors import ConfigNotFoundError, ConfigSyntaxError, InterpolationError
from forge.compose.lookups import Lookups
from forge.compose.project import Root
from forge.compose.repository import Repository

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    for name, text in {
        "one/run.yaml": "defaults:\n- db: a\n- _self_\n",
        "one/db/a.yaml": "# @package _global_\nx: 1\n",
        "one/db/_hidden.yaml": "x: 1\n",
        "one/db/note.txt": "x",
        "two/db/a.yaml": "x: 2\n",
        "two/db/b.yaml": "x: 3\n",
        "two/srv/deep/c.yaml": "x: 4\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    roots = (
        Root(str(tmp_path / "one"), "project"),
        Root(str(tmp_path / "two"), "library"),
        Root(str(tmp_path / "gone"), "user"),
    )
    return Repository(roots, Lookups())


def loaded(repository: Repository, tmp_path: Path, text: str) -> object:
    (tmp_path / "one" / "try.yaml").write_text(text)
    return repository.load_config("try")


def test_the_first_root_that_has_a_file_wins(repository: Repository, tmp_path: Path) -> None:
    first, second = repository.document("db/a"), repository.document("db/b")
    assert first is not None
    assert second is not None
    assert (first.tree, first.file, first.package) == ({"x": 1}, str(tmp_path / "one/db/a.yaml"), "_global_")
    assert second.tree.settings["x"].origin.layer == "library"
    assert repository.document("db/c") is None


def test_each_file_is_parsed_once(repository: Repository) -> None:
    assert repository.document("db/a") is repository.document("db/a")


def test_hydras_questions_are_answered(repository: Repository) -> None:
    assert repository.config_exists("db/b")
    assert not repository.config_exists("db/z")
    assert repository.group_exists("srv")
    assert repository.group_exists("srv/deep")
    assert not repository.group_exists("nope")
    assert repository.get_group_options("db") == ["a", "b"]
    assert repository.get_group_options("srv") == []
    assert repository.get_group_options("nope") == []
    assert repository.group_names() == ["db", "srv"]
    assert len(repository.get_sources()) == 3
    assert repository.load_config("nope") is None


def test_a_link_that_leads_nowhere_or_to_itself_is_no_group_and_no_config(
    repository: Repository, tmp_path: Path
) -> None:
    for name in ("loop", "db/loop.yaml", "gone"):
        link = tmp_path / "one" / name
        link.symlink_to(link.name if "loop" in name else "nowhere")
    assert repository.group_names() == ["db", "srv"]
    assert not repository.group_exists("loop")
    assert not repository.config_exists("db/loop")


def test_a_default_keeps_the_line_it_stands_in(repository: Repository) -> None:
    repository.load_config("run")
    assert [(default.text, default.config, default.origin.line) for default in repository.defaults["run"]] == [
        ("db: a", "db/a", 2),
        ("_self_", None, 3),
    ]


@pytest.mark.parametrize(
    ("line", "group", "value", "package", "optional", "override"),
    [
        ("db: a", "db", "a", None, False, False),
        ("optional db: a", "db", "a", None, True, False),
        ("override db: a", "db", "a", None, False, True),
        ("override optional db: a", "db", "a", None, True, True),
        ("override /db@pkg.x: a", "/db", "a", "pkg.x", False, True),
        ("db@_here_: null", "db", None, "", False, False),
        ("db: [a, b]", "db", ["a", "b"], None, False, False),
        ("srv/deep: c", "srv/deep", "c", None, False, False),
        ("db: ${srv}", "db", "${srv}", None, False, False),
        ("db: x_${oc.env:HOME}", "db", "x_${oc.env:HOME}", None, False, False),
    ],
)
def test_a_line_of_a_defaults_list_is_what_hydra_makes_of_it(
    repository: Repository,
    tmp_path: Path,
    line: str,
    group: str,
    value: object,
    package: str | None,
    optional: object,
    override: object,
) -> None:
    found = loaded(repository, tmp_path, f"defaults:\n- {line}\n")
    [element] = found.defaults_list  # type: ignore[attr-defined]
    assert (element.group, element.value, element.package) == (group, value, package)
    assert (element.optional, element.override) == (optional, override)


@pytest.mark.parametrize(
    "line",
    [
        "3",
        "null",
        "[a]",
        "{}",
        "{a: 1, b: 2}",
        "db: 3",
        "db: true",
        "db: [1]",
        "db: {a: b}",
        "db: [[a]]",
        "? 3\n  : a",
        "'': a",
        "'@x': a",
        "'optional ': a",
        "1.5",
    ],
)
def test_a_line_that_is_no_default_is_a_mistake_with_its_line(
    repository: Repository, tmp_path: Path, line: str
) -> None:
    with pytest.raises(ConfigSyntaxError, match=r"try\.yaml:2.*a default is '- group: choice'") as caught:
        pytest.fail(str(loaded(repository, tmp_path, f"defaults:\n- {line}\n")))
    assert len(str(caught.value).splitlines()) <= 3


@pytest.mark.parametrize(
    "choice",
    [
        "${now:%Y}",
        "${oc.decode:a}",
        "${oc.select:a}",
        "${hydra:x}",
        "${oc.env:}",
        "${now:oc.env:HOME}",
        "${oc.env:HOME}${oc.env:USER}",
        "${oc.decode:${oc.env:HOME}}",
        "${oc.env:${x}}",
        "${oc.create:[oc.env:HOME]}",
    ],
)
def test_a_default_may_use_other_choices_and_variables_only(
    repository: Repository, tmp_path: Path, choice: str
) -> None:
    for line in (f"db: '{choice}'", f"'{choice}'", f"optional db: '{choice}'"):
        with pytest.raises((ConfigSyntaxError, InterpolationError)):
            pytest.fail(str(loaded(repository, tmp_path, f"defaults:\n- {line}\n")))


def test_a_secret_variable_is_refused_in_a_default(repository: Repository, tmp_path: Path) -> None:
    for name in ("AWS_SECRET_ACCESS_KEY", "HF_TOKEN", "FORGE_API_KEY"):
        with pytest.raises(InterpolationError, match="may not be read"):
            loaded(repository, tmp_path, f"defaults:\n- db: ${{oc.env:{name}}}\n")


def test_the_variables_a_default_reads_are_remembered(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORGE_ONE", "1")
    monkeypatch.delenv("FORGE_TWO", raising=False)
    loaded(repository, tmp_path, "defaults:\n- db: a${oc.env:FORGE_ONE}\n- srv: '${ oc.env : FORGE_TWO , x }'\n")
    assert repository.lookups.variables == {"FORGE_ONE": "1", "FORGE_TWO": None}


@pytest.mark.parametrize("name", ["/etc/passwd", "../one/run", "db/../../x", "a\0b"])
def test_a_name_that_leads_out_is_refused(repository: Repository, name: str) -> None:
    with pytest.raises(ConfigNotFoundError, match="leads out of the search path"):
        repository.document(name)


def test_a_config_may_be_pretended_to_go_on_after_a_mistake(repository: Repository) -> None:
    assert repository.load_config("db/z") is None
    repository.pretend("db/z")
    assert repository.config_exists("db/z")
    found = repository.load_config("db/z")
    assert found is not None
    assert found.defaults_list == []
    assert repository.document("db/z") is None


def test_a_default_may_be_dropped_to_go_on_after_a_mistake(repository: Repository) -> None:
    repository.load_config("run")
    assert repository.drop_default("db: a")
    assert not repository.drop_default("db: a")
    found = repository.load_config("run")
    assert found is not None
    assert len(found.defaults_list) == 1
