"""Jobs of Slurm: submit a script, ask how a job is, and show what it prints until it ends.

The controller of a cluster serves everybody: it is asked again after longer and longer pauses.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from typing import TYPE_CHECKING, Final, NamedTuple

from forge.base.errors import ToolError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["JobState", "cancel", "follow_job", "job_state", "pauses", "submit"]

_SECONDS: Final = 60
_FIRST: Final = 1.0
_LONGEST: Final = 60.0
_LOOK: Final = 0.5  # between two looks at the log
_OVER: Final = {
    "COMPLETED": 0,
    "CANCELLED": 130,
    "FAILED": 1,
    "TIMEOUT": 1,
    "NODE_FAIL": 1,
    "OUT_OF_MEMORY": 1,
    "BOOT_FAIL": 1,
    "DEADLINE": 1,
    "PREEMPTED": 1,
}

_MEANS: Final = {
    "CANCELLED": "somebody has cancelled it",
    "TIMEOUT": "its time was over before the run had ended",
    "NODE_FAIL": "one of its nodes was lost",
    "OUT_OF_MEMORY": "it took more memory than it had asked for, see launch.memory_per_node",
    "BOOT_FAIL": "one of its nodes did not start",
    "PREEMPTED": "its place was given to another job",
}


class JobState(NamedTuple):
    """How a job is, in Slurm's words, and its exit code once it has ended; "" where nobody knows it any more."""

    state: str
    code: int | None = None

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self.state in _OVER or not self.state

    @property
    def words(self) -> str:
        """The same for a person."""
        means = _MEANS.get(self.state, "")
        return f"{self.state}, {means}" if means else self.state or "forgotten by Slurm"


def submit(script: str, *, folder: str) -> str:
    """Hand a script to sbatch, as from this folder, and return the number of the job."""
    said = _said(["sbatch", "--parsable", os.path.abspath(script)], folder=folder)
    number = said.strip().partition(";")[0]
    if not number.isdecimal():
        raise ToolError(f"sbatch says {said.strip()!r}, which is no number of a job")
    return number


def job_state(job: str) -> JobState:
    """How a job is: from squeue, from the controller's memory, or, when both have forgotten it, from the accounting."""
    for look in (_in_queue, _in_memory, _in_accounting):
        found = look(job)
        if found is not None:
            return found
    return JobState("")


def cancel(job: str) -> None:
    """End a job: TERM to its ranks, after Slurm's grace KILL."""
    _said(["scancel", "--full", job])


def pauses() -> Iterator[float]:
    """How long to wait before each time that Slurm is asked: 1, 1.5, ... up to 60 seconds."""
    pause = _FIRST
    while True:
        yield pause
        pause = min(pause * 1.5, _LONGEST)


def follow_job(job: str, log: str, write: Callable[[str], None]) -> JobState:
    """Print what a job writes into its log until the job has ended; how it ended."""
    place, waiting = 0, pauses()
    ask_at = time.monotonic()
    while True:
        place = _pass_on(log, place, write)
        if time.monotonic() < ask_at:
            time.sleep(_LOOK)
            continue
        state = job_state(job)
        if state.over:
            _pass_on(log, place, write, last=True)
            return state
        ask_at = time.monotonic() + next(waiting)


def _pass_on(log: str, place: int, write: Callable[[str], None], *, last: bool = False) -> int:
    """Print the whole lines that are new in a log, at the end also what is no line yet; the place behind them."""
    try:
        with open(log, "rb") as file:
            file.seek(place)
            data = file.read()
    except FileNotFoundError:
        return place  # the job waits in the queue
    whole = data if last else data[: data.rfind(b"\n") + 1]
    if whole:
        write(whole.decode("utf-8", "replace"))
    return place + len(whole)


def _in_queue(job: str) -> JobState | None:
    words = _words(["squeue", "--noheader", "--job", job, "--states=all", "--format=%T"])
    # What has ended is shown for a while, without its exit code.
    return JobState(words[0]) if words and words[0] not in _OVER else None


def _in_memory(job: str) -> JobState | None:
    text = " ".join(_words(["scontrol", "--oneliner", "show", "job", job]))
    state, code = re.search(r"\bJobState=(\w+)", text), re.search(r"\bExitCode=(\d+):(\d+)", text)
    return _ended(state.group(1), f"{code.group(1)}:{code.group(2)}") if state and code else None


def _in_accounting(job: str) -> JobState | None:
    command = ["sacct", "--jobs", job, "--noheader", "--allocations", "--parsable2", "--format=State,ExitCode"]
    for line in _words(command, lines=True):
        state, _, code = line.partition("|")
        if state.split():
            return _ended(state.split()[0], code)
    return None


def _ended(state: str, codes: str) -> JobState:
    """With the exit code of the script, or that of the signal that ended it."""
    code, _, number = codes.partition(":")
    if state not in _OVER:
        return JobState(state)
    if code.isdecimal() and int(code):
        return JobState(state, int(code))
    return JobState(state, 128 + int(number) if number.isdecimal() and int(number) else _OVER[state])


def _words(command: Sequence[str], *, lines: bool = False) -> list[str]:
    """What a program of Slurm prints; nothing where it is not there, or does not know the job."""
    try:
        text = _said(command)
    except ToolError:
        return []
    return text.splitlines() if lines else text.split()


def _said(command: Sequence[str], folder: str | None = None) -> str:
    """What a program of Slurm prints; ToolError with its own words when it fails."""
    if shutil.which(command[0]) is None:
        raise ToolError(
            f"{command[0]} is not here", hint="this has to be a machine from which jobs are submitted to Slurm"
        )
    try:
        done = subprocess.run(  # noqa: S603 - a list, and no shell
            command, cwd=folder, capture_output=True, text=True, errors="replace", timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise ToolError(f"{command[0]} did not answer within {_SECONDS} seconds") from error
    if done.returncode:
        raise ToolError(f"{command[0]}: {(done.stderr or done.stdout).strip() or f'exit code {done.returncode}'}")
    return done.stdout
