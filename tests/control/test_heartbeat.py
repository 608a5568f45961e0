from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from forge.base.files import map_new_file
from forge.control.heartbeat import HEARTBEATS, Heart, own_heart, read_beats, stack_file
from forge.control.processes import identity

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def heart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Heart]:
    """The heart of this process as rank 5 of 8, on the second of two nodes."""
    numbers = {"RANK": 5, "WORLD_SIZE": 8, "GROUP_RANK": 1, "GROUP_WORLD_SIZE": 2, "TORCHELASTIC_MAX_RESTARTS": 3}
    for name, value in numbers.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setenv(HEARTBEATS, str(tmp_path))
    own_heart.cache_clear()
    yield own_heart()
    own_heart.cache_clear()


def test_what_a_rank_says_is_read_by_another_process(heart: Heart, tmp_path: Path) -> None:
    heart.patience = 30
    heart.mark("forward", 4)
    (beat,) = read_beats(str(tmp_path))
    assert (beat.rank, beat.size, beat.node, beat.nodes, beat.attempt, beat.attempts) == (5, 8, 1, 2, 0, 3)
    assert beat.process == identity(os.getpid())
    assert (beat.phase, beat.place, beat.words, beat.code, beat.guilty) == ("forward", (4, 2), "", None, False)
    assert beat.until - beat.since == pytest.approx(30)
    assert abs(beat.since - time.monotonic()) < 30
    heart.mark("a phase with a name that is far too long for the place that there is for the names of phases")
    heart.blame()
    heart.farewell(130)
    (beat,) = read_beats(str(tmp_path))
    assert (beat.step, beat.marks, beat.code, beat.guilty, len(beat.phase)) == (4, 3, 130, True, 64)


def test_an_error_is_told_with_the_place_where_it_was_raised(heart: Heart, tmp_path: Path) -> None:
    try:
        int("ü" * 3000)
    except ValueError as error:
        heart.fail(error)
    (beat,) = read_beats(str(tmp_path))
    assert beat.words.startswith("ValueError: invalid literal")
    assert len(beat.words.encode()) <= 2048
    with open(stack_file(str(tmp_path), 5), encoding="utf-8") as file:
        stack = file.read()
    assert stack.startswith("Failed thread 0x0 (most recent call first):\n")
    assert "in test_an_error_is_told_with_the_place_where_it_was_raised" in stack


def test_nobody_has_to_listen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for folder in ("", str(tmp_path / "not there")):
        monkeypatch.setenv(HEARTBEATS, folder)
        own_heart.cache_clear()
        heart = own_heart()
        heart.mark("data", 1)
        heart.fail(ValueError("x"))
        heart.farewell(0)
    own_heart.cache_clear()
    assert os.listdir(tmp_path) == []


def test_what_is_no_heartbeat_is_left_out(heart: Heart, tmp_path: Path) -> None:
    heart.mark("x")
    (tmp_path / "rank-1.beat").write_bytes(b"\0" * 4096)
    (tmp_path / "rank-2.beat").write_text("{}")
    (tmp_path / "rank-3.stack").write_text("")
    assert [beat.rank for beat in read_beats(str(tmp_path))] == [5]


def test_a_rank_that_has_only_made_its_file_is_not_there_yet(heart: Heart, tmp_path: Path) -> None:
    heart.mark("x")
    head = (tmp_path / "rank-5.beat").read_bytes()[:1024]
    (tmp_path / "rank-6.beat").write_bytes(head.ljust(4096, b"\0"))
    assert len(read_beats(str(tmp_path))) == 1


def test_a_heartbeat_outlives_its_process(tmp_path: Path) -> None:
    code = "from forge.control.heartbeat import own_heart as o; import os; o().mark('data', 7); os.kill(os.getpid(), 9)"
    environment = {**os.environ, HEARTBEATS: str(tmp_path), "RANK": "2"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, check=False)
    assert done.returncode == -9
    (beat,) = read_beats(str(tmp_path))
    assert (beat.rank, beat.step, beat.phase, beat.code) == (2, 7, "data", None)


def test_a_mark_costs_next_to_nothing(tmp_path: Path) -> None:
    heart = Heart(map_new_file(tmp_path / "beat", 4096))
    began = time.perf_counter()
    for _ in range(10_000):
        heart.mark("forward")
    assert (time.perf_counter() - began) / 10_000 < 100e-6  # measured: about one millionth
