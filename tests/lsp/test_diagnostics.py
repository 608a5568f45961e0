from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from forge.base.places import library_configs
from forge.lsp.diagnostics import diagnostics_of

if TYPE_CHECKING:
    from pathlib import Path

    from forge.lsp.desk import Desk


def found(desk: Desk, file: Path, text: str) -> list[tuple[int, str, str]]:
    """Line (from 0), what the marked part says, and the message of each problem."""
    desk.show(str(file), text)
    lines = text.split("\n")
    return [
        (one.span.line, lines[one.span.line][one.span.column : one.span.end_column], one.message)
        for one in diagnostics_of(desk, str(file), text)
    ]


def test_a_config_without_mistakes_has_none(desk: Desk, demo: Path) -> None:
    for name in ("tiny.yaml", "size/small.yaml", "size/large.yaml"):
        file = demo / "configs" / name
        problems = found(desk, file, file.read_text())
        assert [message for _, _, message in problems if not message.startswith("api_key: nothing")] == [], name


def test_a_mistake_is_marked_where_it_stands_before_it_is_saved(desk: Desk, demo: Path) -> None:
    file = demo / "configs" / "run.yaml"
    text = file.read_text().replace("mode: slow", "mood: slow")
    [(line, marked, message)] = [one for one in found(desk, file, text) if "mood" in one[1]]
    assert (line, marked) == (8, "mood")
    assert "Runner has no argument 'mood', did you mean 'mode'?" in message
    assert "mood" not in file.read_text()


def test_a_text_that_does_not_parse_says_only_that(desk: Desk, demo: Path) -> None:
    file = demo / "configs" / "run.yaml"
    problems = found(desk, file, "defaults: [tiny, _self_]\na: [1\nb: ${nosuch}\n")
    assert len(problems) == 1
    assert "not valid YAML" in problems[0][2]


def test_a_part_is_not_blamed_for_what_it_leaves_to_others(desk: Desk, demo: Path) -> None:
    small = demo / "configs" / "size" / "small.yaml"
    assert found(desk, small, "_target_: builtins.dict\ndim: ???\n") == []
    sgd = os.path.join(library_configs(), "trainer", "default.yaml")
    with open(sgd, encoding="utf-8") as file:
        assert diagnostics_of(desk, sgd, file.read()) == []


def test_what_is_wrong_in_a_part_shows_in_the_config_at_the_line_that_takes_it(desk: Desk, demo: Path) -> None:
    tiny, small = demo / "configs" / "tiny.yaml", demo / "configs" / "size" / "small.yaml"
    desk.show(str(small), "_target_: math.sine\n")
    [(line, marked, message)] = [one for one in found(desk, tiny, tiny.read_text()) if "api_key" not in one[2]]
    assert (line, marked) == (1, "small")
    assert "small.yaml:1: " in message
    assert "target 'math.sine'" in message


def test_a_choice_that_no_config_takes_is_judged_by_its_calls(desk: Desk, demo: Path) -> None:
    (demo / "project.yaml").write_text("name: demo\n")
    file = demo / "configs" / "size" / "_new.yaml"
    file.write_text("")
    text = "_target_: demo_code.Runner\nsize: ${nosuch}\nmode: wrong\n"
    assert [(line, marked) for line, marked, _ in found(desk, file, text)] == [(2, "mode")]


@pytest.mark.parametrize("name", ["project.yaml", "elsewhere.yaml"])
def test_other_files_are_not_judged(desk: Desk, demo: Path, name: str) -> None:
    assert found(desk, demo / name, "a: [") == []


def test_a_broken_project_file_is_not_the_configs_fault(desk: Desk, demo: Path) -> None:
    (demo / "project.yaml").write_text("nmae: x\n")
    assert found(desk, demo / "configs" / "tiny.yaml", "a: 1\n") == []
