from __future__ import annotations

import pytest

pytest.importorskip("rich")

from forge.ml.workbench import spoken
from forge.ml.workbench.spoken import SpokenConsole


def test_lines_are_printed_and_a_status_is_handed_on(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spoken, "_PAUSE", 0.0)
    told: list[str] = []
    console = SpokenConsole(told.append)
    console.print("a line with [marks]")
    with console.status("preparing") as status:
        status.update("preparing: 100 rows")
    assert told == ["preparing", "preparing: 100 rows", ""]
    assert capsys.readouterr().err == "a line with [marks]\n"


def test_nobody_is_told_more_often_than_people_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spoken, "_PAUSE", 3600.0)
    told: list[str] = []
    with SpokenConsole(told.append).status("preparing") as status:
        for number in range(1000):
            status.update(str(number))
    assert told[-1] == ""
    assert len(told) <= 2
