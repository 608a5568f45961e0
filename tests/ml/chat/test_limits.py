from __future__ import annotations

import contextlib
import resource
import signal
import threading

import pytest

from forge.ml.chat.conversation import RowError
from forge.ml.chat.limits import KILLED, Limits, limited, memory_limited

QUICK = Limits(seconds=0.05)


def test_what_is_done_in_time_is_not_disturbed() -> None:
    before = signal.getsignal(signal.SIGVTALRM)
    with memory_limited(QUICK), limited(QUICK):
        done = sum(range(1000))
    assert done == 499500
    assert signal.getsignal(signal.SIGVTALRM) is before
    assert signal.getitimer(signal.ITIMER_VIRTUAL) == signal.getitimer(signal.ITIMER_PROF) == (0.0, 0.0)
    assert resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY


def test_what_does_not_end_is_stopped_though_it_catches_every_exception() -> None:
    def stubborn() -> None:
        while True:
            with contextlib.suppress(Exception):  # as careless filters do
                sum(range(1000))

    with pytest.raises(RowError, match=r"the template runs too long: more than 0\.05 s"), limited(QUICK):
        stubborn()


def test_what_needs_too_much_memory_is_stopped() -> None:
    with pytest.raises(RowError, match="too much memory: more than 256 MB"), memory_limited(QUICK), limited(QUICK):
        "a".ljust(3_000_000_000)
    assert resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY


def test_other_errors_pass() -> None:
    with pytest.raises(KeyError), limited(QUICK):
        {}["a"]


def test_limits_are_for_the_main_thread() -> None:
    found: list[str] = []

    def work() -> None:
        try:
            with limited(QUICK):
                pass
        except ValueError as error:
            found.append(str(error))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert "main thread" in found[0]


def test_the_status_of_a_killed_worker_is_that_of_its_signal() -> None:
    assert -KILLED == signal.SIGPROF
