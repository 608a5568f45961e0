from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from forge.cli.knowledge import Knowledge
from forge.cli.known import Value

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def known(project: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Knowledge:
    """What is known in the demo project."""
    assert environment
    monkeypatch.chdir(project)
    return Knowledge()


def test_projects_and_configs_are_known_by_name(known: Knowledge) -> None:
    assert known.projects()["demo"] == "A small project."
    assert "pydoc" in known.projects()
    assert known.configs() == {"other": "", "tiny": "default"}


def test_a_group_is_known_with_its_choice_and_each_choice_with_its_comment(known: Knowledge) -> None:
    groups = known.groups()
    assert next(iter(groups.items())) == ("size", "small")
    assert groups["optimizer"] == ""
    assert known.choices("size") == {"large": "Twenty layers.", "small": "Two layers."}
    assert known.choices("size@elsewhere") == known.choices("size")
    assert known.choices("nosuch") == {}


def test_values_are_known_at_every_path_with_type_and_place(known: Knowledge) -> None:
    top = known.values(())
    assert top["trainer"] == Value("", inner=True, type="dict", place="configs/tiny.yaml:12")
    assert top["meta"].type == "2 keys"
    assert top["mode"] == Value("fast", choices=("fast", "slow"), type="str", place="configs/tiny.yaml:9")
    assert known.values(("size",))["dim"] == Value("8", type="int", place="size/small.yaml:3")
    assert known.values(("trainer",))["size"].type == ""
    assert known.values(("mode",)) == {}
    assert known.values(("nosuch", "deeper")) == {}


def test_what_a_shell_has_pending_counts_and_is_named(known: Knowledge) -> None:
    assert known.overrides() == {}
    shell = Knowledge(overrides=["mode=slow"], pending=["size=large", "++trainer.new=1", "~quiet"])
    assert shell.overrides() == {"size": "size=large", "trainer.new": "++trainer.new=1", "quiet": "~quiet"}
    assert shell.values(("size",))["dim"].shown == "800"
    assert shell.values(())["mode"].place == "override"
    assert "quiet" not in shell.values(())


def test_the_files_of_the_config_are_known_by_their_layer(known: Knowledge) -> None:
    assert known.sources() == {"configs/tiny.yaml": "project", "configs/size/small.yaml": "project"}
    assert known.jobs() == {}


def test_a_secret_is_not_among_the_values(known: Knowledge) -> None:
    assert "hunter2" not in str(dict(known.values(())))
    assert known.values(())["api_key"].shown


def test_targets_and_flags_are_those_of_the_config(known: Knowledge) -> None:
    assert known.targets() == {"size": "builtins.dict", "trainer": "builtins.dict"}
    assert [(flag.names, flag.choices, flag.switch) for flag in known.flags()] == [
        (("--max-steps", "-M"), (), False),
        (("--mode",), ("fast", "slow"), False),
        (("--quiet",), (), True),
    ]


def test_what_the_line_says_so_far_counts(known: Knowledge) -> None:
    assert known.values(("size",))["dim"].shown == "8"
    assert Knowledge(overrides=["size=large"]).values(("size",))["dim"].shown == "800"
    assert Knowledge(config="other").values(("size",))["dim"].shown == "800"


def test_a_line_that_does_not_compose_is_left_out(known: Knowledge) -> None:
    assert known.configs()
    assert Knowledge(overrides=["size=smal", "nosuch=1"]).values(("size",))["dim"].shown == "8"


@pytest.mark.parametrize(
    "nothing", [Knowledge(project="nosuch"), Knowledge(config="nosuch")], ids=["no project", "no config"]
)
def test_where_nothing_is_known_there_is_no_error(nothing: Knowledge, known: Knowledge) -> None:
    assert known.configs()
    assert not nothing.values(())
    assert not nothing.targets()
    assert not nothing.flags()
    assert isinstance(nothing.groups(), dict)
    assert isinstance(nothing.configs(), dict)


def test_a_broken_project_below_does_not_stop_the_others(known: Knowledge, project: Path) -> None:
    (project / "below").mkdir()
    (project / "project.yaml").write_text("nosuch: 1\n")
    assert known.projects() == {}
    assert known.configs() == {}
