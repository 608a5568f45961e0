from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import forge
from forge.api import ConfigInfo, ProjectHandle, all_projects
from forge.base.errors import ConfigNotFoundError, InterpolationError, UsageError
from forge.graph.node import Graph

if TYPE_CHECKING:
    from pathlib import Path

FILES = {
    "project.yaml": "name: demo\ndescription: A small project.\ndefault_config: tiny\ngroups: [size]\n",
    "README.md": "# demo\n\nWhat it is.\n\n## More\n\nDetails.\n",
    "configs/tiny.yaml": """\
defaults: [{size: small}, _self_]
meta: {description: A tiny config.}
args: {steps: {key: trainer.steps, type: int}}
api_key: hunter2
trainer: {_target_: builtins.dict, size: "${size}", steps: 100, key: "${api_key}"}
""",
    "configs/other.yaml": "defaults: [tiny, {override size: large}, _self_]\ntrainer: {steps: 200}\n",
    "configs/bad.yaml": "defaults: [{size: smal}]\n",
    "configs/size/small.yaml": "_target_: builtins.dict\ndim: 8\n",
    "configs/size/large.yaml": "_target_: builtins.dict\ndim: 800\n",
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ProjectHandle:
    for name, text in FILES.items():
        path = tmp_path / "demo" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for kind in ("CONFIG", "DATA", "CACHE"):
        monkeypatch.setenv(f"FORGE_{kind}_HOME", str(tmp_path / kind.lower()))
    monkeypatch.chdir(tmp_path)
    return forge.open(tmp_path / "demo")


def test_a_project_is_opened_by_folder_name_or_place(
    project: ProjectHandle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert forge.open("demo").folder == project.folder
    assert forge.open("demo/configs/size").folder == project.folder
    monkeypatch.chdir(tmp_path / "demo" / "configs")
    assert forge.open().folder == project.folder
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigNotFoundError, match="did you mean 'demo'"):
        forge.open("dmeo")


def test_a_project_lists_its_configs_and_says_what_is_broken(project: ProjectHandle) -> None:
    bad, other, tiny = project.configs()
    assert tiny == ConfigInfo("tiny", "A tiny config.", default=True)
    assert other == ConfigInfo("other", "A tiny config.")
    assert bad.name == "bad"
    assert bad.problem.startswith("demo/configs/bad.yaml:1")
    assert project.groups()["size"] == ["large", "small"]
    assert project.readme == "What it is."


def test_a_config_shows_itself(project: ProjectHandle) -> None:
    config = project.config("tiny.yaml", "trainer.steps=5")
    assert config.show(path="trainer") == ("_target_: builtins.dict\nsize: ${size}\nsteps: 5\nkey: ${api_key}")
    assert "# demo/configs/size/small.yaml:2" in config.show(origins=True)
    assert config.data(path="size") == {"_target_": "builtins.dict", "dim": 8}
    with pytest.raises(UsageError, match=r"did you mean 'trainer\.steps'"):
        config.show(path="steps")


def test_an_override_makes_another_handle(project: ProjectHandle) -> None:
    config = project.config()
    changed = config.override("size=large").override("trainer.steps=1")
    assert (config.overrides, changed.overrides) == ((), ("size=large", "trainer.steps=1"))
    assert repr(changed) == "<forge config tiny size=large trainer.steps=1 of demo>"
    assert changed.data(path="size.dim") == 800


def test_why_follows_references_and_tells_what_was_replaced(project: ProjectHandle) -> None:
    reason = project.config("other").why("trainer.steps")
    assert [step.value for step in reason.steps] == [100, 200]
    assert [step.origin.line for step in reason.steps] == [5, 2]
    assert project.config("other").why("trainer.size.dim").key == "size.dim"
    assert project.config().why("trainer.size").refers is not None


def test_the_graph_shares_what_is_referred_to(project: ProjectHandle) -> None:
    graph = project.config().graph
    assert isinstance(graph, Graph)
    size, trainer = (next(edge.node for edge in graph.root.items if edge.key == key) for key in ("size", "trainer"))
    assert trainer.kwargs[0].node is size


def test_what_can_be_built_is_listed_and_built(project: ProjectHandle) -> None:
    config = project.config()
    assert [(target.key, target.main) for target in config.targets()] == [("size", False), ("trainer", True)]
    assert config.build("size") == {"dim": 8}
    built = config.build()
    assert built["size"] == {"dim": 8}
    assert built["key"] == "hunter2"


def test_a_config_without_a_main_object_builds_as_a_whole(project: ProjectHandle) -> None:
    with open(f"{project.folder}/configs/plain.yaml", "w") as file:
        file.write("a: 1\nb: {_target_: builtins.list, _args_: [[1, 2]]}\n")
    assert project.config("plain").build() == {"a": 1, "b": [1, 2]}


def test_the_program_of_a_target_runs_and_builds_the_same(project: ProjectHandle) -> None:
    config = project.config("tiny", "~api_key", "trainer.key=x")
    names: dict[str, object] = {}
    exec(compile(config.code("trainer"), "code", "exec"), names)  # noqa: S102 - that it runs is what is tested
    assert {"dim": 8} in [value.get("size") for value in names.values() if isinstance(value, dict)]


def test_check_returns_every_finding(project: ProjectHandle) -> None:
    assert [finding.severity for finding in project.config("bad").check()] == ["error"]
    assert [finding for finding in project.config().check() if finding.severity == "error"] == []
    misspelt = project.config("tiny", "+trainer.sise=1", "nosuch=1")
    assert any("nosuch" in str(finding) for finding in misspelt.check())


def test_what_hydra_would_do_otherwise_is_listed_on_request(project: ProjectHandle) -> None:
    found = [finding.code for finding in project.config().check(hydra_compat=True)]
    assert "hydra-shared" in found
    assert "hydra-shared" not in [finding.code for finding in project.config().check()]


def test_a_difference_is_a_list_of_changes_and_a_line(project: ProjectHandle) -> None:
    tiny, other = project.config("tiny"), project.config("other")
    difference = tiny.diff(other)
    assert difference
    assert "size.dim" in str(difference)
    assert not tiny.override(*difference.overrides()).diff(other)
    assert not tiny.diff(project.config("tiny"))
    assert {one["path"] for one in difference.data()} == {"size.dim", "trainer.steps"}


def test_the_flags_of_a_config_are_known(project: ProjectHandle) -> None:
    assert [argument.flags for argument in project.config().arguments] == [("--steps",)]


def test_the_files_of_a_config_are_listed_its_own_first(project: ProjectHandle) -> None:
    names = [file.rpartition("configs/")[2] for file in project.config("other").files]
    assert names[0] == "other.yaml"
    assert sorted(names) == ["other.yaml", "size/large.yaml", "tiny.yaml"]


def test_resolving_keeps_objects_as_references(project: ProjectHandle) -> None:
    text = project.config("tiny", "+text='n-${trainer.steps}'").show(resolve=True)
    assert "text: n-100" in text
    assert "size: ${size}" in text
    with pytest.raises(InterpolationError):
        project.config("tiny", "+text='${nosuch}'").show(resolve=True)


def test_all_projects_are_those_below_and_those_of_forge(project: ProjectHandle) -> None:
    found = {one.name for one in all_projects()}
    assert project.name in found
    assert "pydoc" in found


def test_a_notebook_shows_the_picture(project: ProjectHandle) -> None:
    config = project.config()
    assert config._repr_svg_().startswith("<svg") or "<svg" in config._repr_svg_()[:200]
    assert "<svg" in config.graph._repr_svg_()[:500]
    assert "<svg" in config.diff(project.config("other"))._repr_svg_()[:500]


@pytest.mark.usefixtures("project")
def test_a_new_project_checks_clean_and_shows_its_graph() -> None:
    from forge.cli.scaffold import new_config, new_project

    made = forge.open(new_project("haiku"))
    new_config(made, "exp/longer")
    for name in ("train", "exp/longer"):
        assert made.config(name).check() == []
        assert any(target.main for target in made.config(name).targets())


@pytest.mark.torch
@pytest.mark.usefixtures("project")
def test_a_new_project_builds() -> None:
    from forge.cli.scaffold import new_config, new_project

    made = forge.open(new_project("haiku"))
    new_config(made, "exp/longer")
    assert type(made.config("exp/longer").build()).__name__ == "Trainer"
