from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from forge.control.requests import ABORT_FILE, STOP_FILE
from forge.ml.train.stopping import StoppedEarly, Stopping

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)


@pytest.fixture
def stopping() -> Iterator[Stopping]:
    before = {number: signal.getsignal(number) for number in SIGNALS}
    made = Stopping()
    made.listen()
    yield made
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_asks_and_says_which(stopping: Stopping, number: signal.Signals) -> None:
    assert not stopping.asked
    os.kill(os.getpid(), number)
    assert stopping.asked
    assert stopping.interrupted
    assert stopping.reason == number.name


def test_a_terminal_that_goes_away_says_nothing_to_who_ignores_it() -> None:
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
        stopping = Stopping()
        stopping.listen()
        os.kill(os.getpid(), signal.SIGHUP)
        assert not stopping.asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_what_comes_before_the_first_step_is_left_where_somebody_asks() -> None:
    stopping = Stopping()
    stopping.leave_early()
    stopping.interrupt("SIGTERM")
    with pytest.raises(StoppedEarly, match="SIGTERM"):
        stopping.leave_early()


@pytest.mark.usefixtures("stopping")
def test_a_second_interrupt_ends_at_once() -> None:
    os.kill(os.getpid(), signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)


def test_a_second_term_still_lets_the_run_save(stopping: Stopping) -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGTERM)
    assert stopping.asked


def test_a_file_asks(tmp_path: Path) -> None:
    stopping = Stopping()
    stopping.folder = str(tmp_path)
    assert not stopping.asked
    (tmp_path / STOP_FILE).touch()
    assert stopping.asked
    assert stopping.interrupted
    assert STOP_FILE in stopping.reason


def test_a_run_that_has_reached_its_aim_was_not_interrupted() -> None:
    stopping = Stopping()
    stopping.finish("early stopping")
    stopping.finish("later")
    assert stopping.asked
    assert not stopping.interrupted
    assert stopping.reason == "early stopping"


def test_with_a_file_abort_any_signal_ends_at_once(stopping: Stopping, tmp_path: Path) -> None:
    stopping.folder = str(tmp_path)
    (tmp_path / ABORT_FILE).touch()
    assert not stopping.asked  # the file alone asks for nothing
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGTERM)
