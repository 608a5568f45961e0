from __future__ import annotations

import gc
import subprocess
import sys

import pytest

from forge.base.collector import collector_paused


def test_the_collector_runs_again_afterwards_also_after_an_error() -> None:
    assert gc.isenabled()
    with collector_paused():
        assert not gc.isenabled()
        with collector_paused():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(ValueError, match="x"), collector_paused():
        raise ValueError("x")
    assert gc.isenabled()


def test_a_collector_that_was_off_stays_off() -> None:
    gc.disable()
    try:
        with collector_paused():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


ENDING = """
import atexit
from forge.base.collector import leave

class Knot:
    def __init__(self):
        self.itself = self
    def __del__(self):
        print("walked")

knot = [Knot()]
del knot[0]
atexit.register(print, "tidied up")
leave(3)
"""


def test_a_process_ends_with_its_code_and_without_a_last_walk() -> None:
    done = subprocess.run([sys.executable, "-c", ENDING], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (3, "tidied up\n")
    walked = subprocess.run(
        [sys.executable, "-c", ENDING.replace("leave(3)", "raise SystemExit(3)")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (walked.returncode, walked.stdout) == (3, "tidied up\nwalked\n")
