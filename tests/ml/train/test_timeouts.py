from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest

from forge.control.heartbeat import HEARTBEATS, Beat, own_heart, read_beats
from forge.ml.train.timeouts import Patience

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Others:
    """Notes how long this process would wait for others."""

    def __init__(self) -> None:
        self.limits: list[float] = []

    def wait_at_most(self, seconds: float) -> None:
        self.limits.append(seconds)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Where the heartbeat of this process is."""
    monkeypatch.setenv(HEARTBEATS, str(tmp_path))
    own_heart.cache_clear()
    yield str(tmp_path)
    own_heart.cache_clear()


def beat(folder: str) -> Beat:
    """What this process has last said."""
    (found,) = read_beats(folder)
    return found


def allowed(folder: str) -> float:
    """The seconds within which it has to come further."""
    found = beat(folder)
    return found.until - found.since


def test_the_limits_are_short_once_a_step_is_done_and_long_around_checkpoints(folder: str) -> None:
    others: Any = Others()
    patience = Patience(others, 600, 3600)
    assert (beat(folder).phase, allowed(folder)) == ("setting up", pytest.approx(3600))
    patience.stepped(1)
    assert (beat(folder).phase, beat(folder).step, allowed(folder)) == ("between steps", 1, pytest.approx(600))
    patience.stepped(2)
    patience.mark("data")
    patience.long("checkpoint")
    assert (beat(folder).phase, beat(folder).step, allowed(folder)) == ("checkpoint", 2, pytest.approx(3600))
    patience.stepped(3)
    patience.evaluating()
    assert (beat(folder).phase, allowed(folder)) == ("evaluation", pytest.approx(600))
    patience.stepped(4)
    # Others may wait long for who writes a checkpoint; and only where nobody watches does torch end a run that hangs.
    assert others.limits == [900, math.inf, 900, math.inf, 900]


def test_without_a_limit_nobody_hangs(folder: str) -> None:
    others: Any = Others()
    patience = Patience(others, None, 3600)
    patience.stepped(1)
    assert allowed(folder) == math.inf
    assert others.limits == [math.inf]
    assert Patience(others, 10, None) is not None
    assert allowed(folder) == math.inf


def test_a_process_alone_has_nobody_to_wait_for() -> None:
    patience = Patience()
    patience.stepped(1)
    patience.long("checkpoint")
