"""The jobs of this user: which there are, how they are, and stop, abort, save and forget them.

A job is running as long as its process is, or the one that waits for it and is about to write down how it ended.
"""

from __future__ import annotations

import contextlib
import signal
import time
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Final, Literal

from forge.base.errors import FileError, ToolError, UsageError
from forge.base.spelling import did_you_mean
from forge.control.processes import end_family, is_alive
from forge.control.progress import progress_of
from forge.control.record import change_record, job_records, moment, read_record, remove_records
from forge.control.register import this_host
from forge.control.requests import ask_to_abort, ask_to_save, ask_to_stop, save_answer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from forge.control.record import JobRecord
    from forge.control.requests import SaveAnswer

__all__ = [
    "KnownJob",
    "State",
    "abort",
    "cleanup",
    "find_job",
    "known_jobs",
    "save_now",
    "spoken_time",
    "stop",
    "tell",
    "wait_for_end",
    "was_told",
]

State = Literal["running", "finished", "stopped", "failed", "aborted", "lost", "elsewhere"]
"""``lost``: it is gone, and nobody saw how it ended. ``elsewhere``: it was started on another machine, which has to be asked."""

_GRACE: Final = 4.0
_KEEPER_SECONDS: Final = 2.0
_POLL: Final = 0.05
_STATES: Final[dict[int, State]] = {0: "finished", 3: "stopped", 130: "aborted"}  # what the codes of a run mean
_SIGNALS: Final = 128
_told: Final[set[str]] = set()  # run folders of the jobs whose end this process has shown


@dataclass(frozen=True, slots=True)
class KnownJob:
    """A job as it is at this moment."""

    record: JobRecord
    state: State

    @property
    def id(self) -> str:
        """What it is called."""
        return self.record.id

    @property
    def config(self) -> str:
        """The config that it trains."""
        return self.record.config

    @property
    def running(self) -> bool:
        """Whether it goes on, on this machine."""
        return self.state == "running"

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self.state not in {"running", "elsewhere"}

    @property
    def seconds(self) -> float | None:
        """How long it has run; None when nobody knows when it ended."""
        if self.over and not self.record.ended:
            return None
        end = datetime.fromisoformat(self.record.ended) if self.over else datetime.now(timezone.utc)
        return max(0.0, (end - datetime.fromisoformat(self.record.started)).total_seconds())

    @property
    def how(self) -> str:
        """How it is, in a few words: ``running``, ``failed with exit code 1``, ``failed by SIGKILL``."""
        code = self.record.code
        if self.state == "elsewhere":
            return f"on {self.record.host}"
        if self.state != "failed" or code is None:
            return self.state
        return f"failed by {_signal_name(code)}" if code > _SIGNALS else f"failed with exit code {code}"

    def sentence(self) -> str:
        """What a person is told of it: ``tiny-1 finished after 3:12, step 300/300, loss 2.3100``."""
        progress = progress_of(self.record.run)
        took = "" if self.seconds is None else f" after {spoken_time(self.seconds)}"
        step = f", step {progress.steps}" if progress.steps else ""
        loss = "" if progress.loss is None else f", loss {progress.loss:.4f}"
        return f"{self.id} {self.how}{took}{step}{loss}"


def known_jobs() -> list[KnownJob]:
    """Every job that there is a record of, the oldest first."""
    return [KnownJob(record, _state(record)) for record in job_records()]


def find_job(name: str | None = None, *, running: bool = False) -> KnownJob:
    """The job with this id; without one, the only job that is running. With ``running`` it has to be."""
    if name is None:
        found = [job for job in known_jobs() if job.running]
        if len(found) != 1:
            raise _not_one(found)
        return found[0]
    record = read_record(name)
    if record is None:
        ids = [record.id for record in job_records()]
        raise UsageError(
            f"there is no job {name!r}", hint=did_you_mean(name, ids) or "`forge jobs --all` lists the jobs"
        )
    job = KnownJob(record, _state(record))
    if running and job.state == "elsewhere":
        raise UsageError(f"{job.id} was started on {record.host}", hint="ask for it there")
    if running and not job.running:
        raise UsageError(f"{job.sentence()}: it is not running")
    return job


def stop(job: KnownJob) -> None:
    """Ask a job to end after its step, with a last checkpoint."""
    ask_to_stop(job.record.run)


def abort(job: KnownJob, grace: float = _GRACE) -> KnownJob:
    """End a job at once, with every process that it has started, and without a last checkpoint; the job as it is then."""
    process = job.record.process
    if process is None:
        raise UsageError(f"{job.id} is only starting", hint="try again in a moment")
    # A full disk must not keep anybody from ending what fills it.
    with contextlib.suppress(FileError):
        ask_to_abort(job.record.run)
    with contextlib.suppress(FileError):
        change_record(job.id, asked="abort")
    left = end_family(process, grace)
    if left:
        numbers = ", ".join(str(who.pid) for who in left)
        raise ToolError(f"{job.id} does not end, even by KILL: process {numbers}", hint="its disk or device may hang")
    return _written_down(job)


def save_now(job: KnownJob) -> SaveAnswer:
    """Have a job make a checkpoint, and wait until it is on disk; the job goes on."""
    token = ask_to_save(job.record.run)
    while (answer := save_answer(job.record.run, token)) is None:
        now = _now(job)
        if now.over:
            answer = save_answer(job.record.run, token)  # it may have been the last thing that it did
            if answer is not None:
                break
            raise ToolError(
                f"{now.sentence()}: it ended before it saw the request", hint="forge ckpt ls lists what it saved"
            )
        time.sleep(_POLL)
    if answer.error:
        raise ToolError(f"{job.id} saved nothing: {answer.error}")
    return answer


def wait_for_end(job: KnownJob) -> KnownJob:
    """Wait until a job has ended; the job as it is then."""
    while not (job := _now(job)).over:
        time.sleep(_POLL)
    return job


def tell(job: KnownJob) -> str:
    """How a job has ended, for a person who is told now; an announcement leaves it out from then on."""
    _told.add(job.record.run)
    return job.sentence()


def was_told(job: KnownJob) -> bool:
    """Whether this process has told how a job has ended."""
    return job.record.run in _told


def cleanup(names: Sequence[str] = ()) -> list[KnownJob]:
    """Forget jobs that have ended, all or the named ones; their run folders stay. The jobs that were forgotten."""
    found = [find_job(name) for name in names] if names else [job for job in known_jobs() if job.over]
    for job in found:
        if not job.over:
            raise UsageError(f"{job.id} is {job.how}: only a job that has ended can be forgotten")
    if found:
        remove_records([job.id for job in found])
    return found


def spoken_time(seconds: float) -> str:
    """``0:07``, ``12:40``, ``3:02:10``, ``2 days 3:02:10``."""
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    clock = f"{hour}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
    return f"{days} day{'s' * (days > 1)} {clock}" if days else clock


def _state(record: JobRecord) -> State:
    if record.ended:
        return _ending(record)
    if record.host != this_host():
        return "elsewhere"
    if is_alive(record.process) or is_alive(record.keeper):
        return "running"
    # It may have ended, and been written down, while we looked.
    again = read_record(record.id)
    return _ending(again) if again is not None and again.ended else "lost"


def _ending(record: JobRecord) -> State:
    if record.asked == "abort" and record.code != 0:
        return "aborted"
    return _STATES.get(record.code, "failed") if record.code is not None else "lost"


def _now(job: KnownJob) -> KnownJob:
    """The job as it is now; one that was forgotten meanwhile had ended."""
    record = read_record(job.id)
    if record is None or record.started != job.record.started:
        return KnownJob(job.record, "lost")
    return KnownJob(record, _state(record))


def _written_down(job: KnownJob) -> KnownJob:
    """The job after its keeper has written down the end, or after we did where no keeper is left."""
    until = time.monotonic() + _KEEPER_SECONDS
    while is_alive(job.record.keeper) and not (job := _now(job)).record.ended and time.monotonic() < until:
        time.sleep(_POLL)
    if not job.record.ended:
        with contextlib.suppress(FileError):
            change_record(job.id, ended=moment(), keeper=None)
    return _now(job)


def _not_one(running: Sequence[KnownJob]) -> UsageError:
    if not running:
        return UsageError("no job is running", hint="name one that has ended: `forge jobs --all` lists them")
    return UsageError(f"{len(running)} jobs are running", hint=f"name one: {', '.join(job.id for job in running)}")


def _signal_name(code: int) -> str:
    try:
        return signal.Signals(code - _SIGNALS).name
    except ValueError:
        return f"signal {code - _SIGNALS}"
