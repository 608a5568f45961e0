from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from forge.control.heartbeat import HEARTBEATS
from forge.launch.agent import AGENT, last_words

if TYPE_CHECKING:
    from pathlib import Path

MODULE = """\
import logging
import signal
import sys


class ChildFailedError(Exception):
    __module__ = "torch.elastic.errors"

    def get_first_failure(self):
        return 3, self

    exitcode = -signal.SIGKILL


class LostError(Exception):
    __module__ = "torch.elastic.rendezvous"


logging.getLogger("torch.distributed.elastic.multiprocessing.api").error("failed (exitcode: -9)")
what = sys.argv[1]
if what == "ranks":
    raise ChildFailedError("a table\\nof forty lines")
if what == "rendezvous":
    raise LostError("nobody came\\nand so on")
if what == "bug":
    raise KeyError("x")
sys.exit(int(what))
"""


def said(tmp_path: Path, what: str, *, watched: bool = True) -> tuple[int, str]:
    """What the agent says in place of a module that is torchrun's, and how it ends."""
    (tmp_path / "fake_torchrun.py").write_text(MODULE)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), HEARTBEATS: str(tmp_path) if watched else ""}
    command = [sys.executable, *AGENT[:-1], "fake_torchrun", what]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr + last_words(str(tmp_path))


@pytest.mark.parametrize(
    ("what", "code", "words"),
    [
        ("ranks", 1, "torchrun: rank 3 was the first to end: killed by SIGKILL; see logs/rank-3.log of the run folder"),
        ("rendezvous", 1, "torchrun: LostError: nobody came"),
        ("0", 0, ""),
        ("2", 2, ""),
    ],
)
def test_what_torchrun_gives_up_for_is_a_line(tmp_path: Path, what: str, code: int, words: str) -> None:
    assert said(tmp_path, what) == (code, words)


@pytest.mark.parametrize(("what", "watched"), [("bug", True), ("ranks", False)])
def test_a_mistake_and_ranks_that_nobody_watches_keep_their_stack(tmp_path: Path, what: str, *, watched: bool) -> None:
    code, words = said(tmp_path, what, watched=watched)
    assert code == 1
    assert "Traceback" in words
    assert ("failed (exitcode" in words) is not watched
