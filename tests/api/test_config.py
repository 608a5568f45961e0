from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from forge.base.errors import InterpolationError, UsageError
from forge.graph.node import Graph

if TYPE_CHECKING:
    from forge.api.project import ProjectHandle


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
