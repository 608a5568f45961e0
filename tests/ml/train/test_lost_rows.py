"""Rows of a stream that cannot be used are told while the run goes on."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from forge.ml.data.report import Report
from forge.ml.train.lost_rows import LostRows

if TYPE_CHECKING:
    from collections.abc import Callable

    from forge.ml.train.run import Run


class _Read:
    """Rows that were read, of which some were lost."""

    def __init__(self) -> None:
        self.report = Report()
        self.said: list[str] = []
        self.run: Any = SimpleNamespace(progress=SimpleNamespace(say=self.said.append))
        self.told = LostRows(lambda: self.report)

    def lose(self, reason: str, *rows: int) -> None:
        self.report = self.report.copy()
        self.report.rows = max(rows) + 1
        for row in rows:
            self.report.drop(reason, row)
        self.told.after_step(self.run, {})


@pytest.fixture
def read() -> _Read:
    return _Read()


def test_a_new_reason_is_told_at_once_and_again_when_its_rows_have_doubled(read: _Read) -> None:
    read.lose("no messages", 4, 5)
    read.lose("no messages", 6)
    assert read.said == ["2 of 6 rows not used: no messages; the first is row 4"]
    read.lose("no messages", 9)
    read.lose("unknown role", 12)
    assert read.said[1:] == [
        "4 of 10 rows not used: no messages; the first is row 4",
        "1 of 13 rows not used: unknown role; the first is row 12",
    ]


def test_the_end_tells_what_came_since(read: _Read) -> None:
    read.lose("no messages", 4, 5)
    read.lose("no messages", 6)
    read.told.end(read.run)
    read.told.end(read.run)
    assert read.said[1:] == ["3 of 7 rows not used: no messages; the first is row 4"]


def test_what_was_known_before_the_first_step_is_not_told_again() -> None:
    report, said = Report(rows=2), []
    report.drop("no messages", 1)
    told, run = LostRows(lambda: report), SimpleNamespace(progress=SimpleNamespace(say=said.append))
    told.after_step(run, {})  # type: ignore[arg-type] # all that it uses of a run
    told.end(run)  # type: ignore[arg-type] # as above
    assert not said


@pytest.mark.torch
def test_a_run_on_a_stream_says_what_it_could_not_use(
    carried: Callable[..., Run],
    rows_file: Callable[..., str],
    turn: Callable[..., Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("torch")
    rows = rows_file(turn(), {"messages": []}, turn(), turn())
    carried("trainer.save_strategy=no", "+dataset.train.streaming=true", rows, config="chat")
    said = capsys.readouterr().err
    assert said.count("1 of 4 rows not used: no messages; the first is row 1") == 1
