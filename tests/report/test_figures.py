from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from forge.report.figures import LoggedFigures

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Steps


def write(folder: Path, *lines: object, mode: str = "a") -> None:
    with (folder / "metrics.jsonl").open(mode) as file:
        file.writelines(line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines)


def test_a_run_that_has_written_nothing_has_no_figures(tmp_path: Path) -> None:
    found = LoggedFigures(str(tmp_path))
    assert (found.steps, found.evaluations, found.events) == ([], [], [])
    assert (found.last("loss"), found.mean("loss"), found.step_seconds(), found.evaluated()) == (None, None, None, {})
    assert not found.update()


def test_lines_are_told_apart(tmp_path: Path, steps: Steps) -> None:
    evaluation = {"step": 2, "dataset": "held_out", "eval_loss": 2.5}
    write(tmp_path, *steps(3), evaluation, {"event": "set", "step": 2, "changed": {}}, "nonsense\n", "[1]\n", "{}\n")
    found = LoggedFigures(str(tmp_path))
    assert [one["step"] for one in found.steps] == [1, 2, 3]
    assert found.evaluated() == {"held_out": [(2, 2.5)]}
    assert [one["event"] for one in found.events] == ["set"]
    assert found.series("grad_norm") == [(2, 0.5), (3, 1 / 3)]
    assert found.series("seconds.backward") == [(1, 0.6), (2, 0.6), (3, 0.6)]
    assert found.last("tokens") == 300
    assert found.mean("tokens_per_second") == 1002.5
    assert found.mean("tokens_per_second", 1) == 1003
    assert found.step_seconds() == 1.0


def test_a_file_that_no_run_has_written_holds_nobody_up(tmp_path: Path, steps: Steps) -> None:
    os.mkfifo(tmp_path / "metrics.jsonl")
    assert LoggedFigures(str(tmp_path)).steps == []
    (tmp_path / "metrics.jsonl").unlink()
    deep = "[" * 100_000 + "\n"
    write(tmp_path, steps(1)[0], deep, {"step": 10**400}, {"step": 2, "loss": 10**400, "lr": float("inf")}, steps(3)[2])
    with (tmp_path / "metrics.jsonl").open("r+") as file:
        file.truncate(8 << 30)  # a line without an end
    found = LoggedFigures(str(tmp_path))
    assert [one["step"] for one in found.steps] == [1, 2, 3]
    assert [step for step, _ in found.series("loss")] == [1, 3]
    assert found.series("lr") == [(1, 1e-3), (3, 1e-3)]
    assert not found.update()


def test_what_comes_later_is_read_then_and_a_torn_line_when_it_is_whole(tmp_path: Path, steps: Steps) -> None:
    first, second, third = steps(3)
    write(tmp_path, first, json.dumps(second)[:20])
    found = LoggedFigures(str(tmp_path))
    assert len(found.steps) == 1
    write(tmp_path, json.dumps(second)[20:] + "\n", third)
    assert found.update()
    assert [one["step"] for one in found.steps] == [1, 2, 3]
    assert not found.update()


def test_steps_that_were_lost_are_replaced(tmp_path: Path, steps: Steps) -> None:
    evaluation = {"step": 4, "dataset": "a", "eval_loss": 1.0}
    write(tmp_path, *steps(5), evaluation, {"event": "resumed", "step": 3}, *steps(6, lr=2.0)[3:])
    found = LoggedFigures(str(tmp_path))
    assert [step for step, _ in found.series("lr")] == [1, 2, 3, 4, 5, 6]
    assert [lr for _, lr in found.series("lr")] == [1e-3] * 3 + [2.0] * 3
    assert found.evaluations == []


def test_a_file_that_was_written_anew_is_read_anew(tmp_path: Path, steps: Steps) -> None:
    write(tmp_path, *steps(3))
    found = LoggedFigures(str(tmp_path))
    (tmp_path / "metrics.jsonl").rename(tmp_path / "old")
    write(tmp_path, *steps(2))
    found.update()
    assert len(found.steps) == 2
