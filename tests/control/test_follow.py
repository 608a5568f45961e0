from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from forge.control import follow as follow_module
from forge.control.follow import follow_log, last_lines

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "console.log"


@pytest.mark.parametrize("portion", [1, 7, 1 << 16])
def test_the_last_lines(log: Path, monkeypatch: pytest.MonkeyPatch, portion: int) -> None:
    monkeypatch.setattr(follow_module, "_PORTION", portion)
    log.write_bytes("one\ntwo é\nthree\n".encode())
    assert last_lines(str(log), None) == (["one", "two é", "three"], log.stat().st_size)
    assert last_lines(str(log), 2)[0] == ["two é", "three"]
    assert last_lines(str(log), 0) == ([], log.stat().st_size)
    assert last_lines(str(log), 99)[0] == ["one", "two é", "three"]


def test_a_line_in_the_making_is_left_to_who_follows(log: Path) -> None:
    log.write_bytes(b"one\ntw")
    lines, place = last_lines(str(log), 5)
    assert (lines, place) == (["one"], 4)
    assert list(follow_log(str(log), place, lambda: True)) == ["tw"]
    log.write_bytes(b"")
    assert last_lines(str(log), 5) == ([], 0)


def test_what_a_bar_has_painted_over_is_gone(log: Path) -> None:
    log.write_bytes(b"10%\r50%\r100%\nnext\r\n\xff\n")
    assert last_lines(str(log), None)[0] == ["100%", "next", "\ufffd"]


def test_following_ends_with_the_job_and_misses_nothing(log: Path) -> None:
    """What is written up to the moment in which the job is over is read, in pieces or not."""
    log.write_bytes(b"")
    texts = [b"one\nt", b"wo\n", b"", b"three\nlast"]

    def over() -> bool:
        with log.open("ab") as file:
            file.write(texts.pop(0))
        return not texts

    assert list(follow_log(str(log), 0, over, pause=0)) == ["one", None, "two", None, None, "three", "last"]


def test_following_starts_at_its_place(log: Path) -> None:
    log.write_bytes(b"old\nnew\n")
    assert list(follow_log(str(log), 4, lambda: True)) == ["new"]
