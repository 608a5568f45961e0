"""What may be asked of a job: to stop, to abort, to save, to go by other settings, and to be forgotten."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any, Final, TypeVar

from forge.base.errors import FileError, ToolError, UsageError
from forge.control.aborting import ABORT_GRACE
from forge.control.caller import ask_at_door
from forge.control.known import as_now, find_job, known_jobs, spoken_time
from forge.control.processes import end_family, is_alive
from forge.control.progress import sign_of_life
from forge.control.record import change_record, moment, read_record, remove_records
from forge.control.requests import ask_to_abort, ask_to_save, ask_to_stop, save_answer
from forge.control.settings import ask_to_set, set_answer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from forge.control.known import KnownJob
    from forge.control.requests import SaveAnswer
    from forge.control.settings import SetAnswer

__all__ = [
    "abort",
    "cleanup",
    "is_own_job",
    "save_now",
    "set_now",
    "stop",
    "tell",
    "wait_for_end",
    "was_told",
]

_Answer = TypeVar("_Answer")
_FAR: Final = 30.0  # seconds that a run has which is reached only through its folder
_SILENT: Final = 600.0  # in which a run elsewhere has taken a step
_KEEPER_SECONDS: Final = 2.0
_POLL: Final = 0.05
_told: Final[set[str]] = set()  # run folders of the jobs whose end this process has shown


def stop(job: KnownJob) -> None:
    """Ask a job to end after its step, with a last checkpoint."""
    ask_to_stop(job.record.run)


def abort(job: KnownJob, grace: float = ABORT_GRACE) -> KnownJob:
    """End a job at once, with every process that it has started, and without a last checkpoint; the job as it is then.

    One that runs elsewhere, or has no record of this user's, is asked through its folder, and ends itself: only the user's own
    records are trusted to name a process.
    """
    process = job.record.process
    if job.state == "elsewhere" or not is_own_job(job):
        ask_to_abort(job.record.run)
        return _ended_itself(job)
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
    run = job.record.run
    token = _asked_at_door(run, {"do": "save"}) or ask_to_save(run)
    answer = _answered(job, lambda: save_answer(run, token), "forge ckpt ls lists what it saved")
    if answer.error:
        raise ToolError(f"{job.id} saved nothing: {answer.error}")
    return answer


def set_now(job: KnownJob, values: Mapping[str, float]) -> SetAnswer:
    """Have a job go by other values, and wait until it does; UsageError with its reason when it cannot."""
    run = job.record.run
    token = _asked_at_door(run, {"do": "set", "values": dict(values)}) or ask_to_set(run, values)
    answer = _answered(job, lambda: set_answer(run, token), "nothing was set")
    if answer.error:
        raise UsageError(f"{job.id} changes nothing: {answer.error}")
    return answer


def wait_for_end(job: KnownJob) -> KnownJob:
    """Wait until a job has ended; the job as it is then. ToolError where one elsewhere is not heard of any more."""
    since = time.time()
    while not (job := as_now(job)).over:
        _refuse_silence(job, since)
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
        if not is_own_job(job):
            raise UsageError(f"{job.id} is in no list of jobs of yours: there is nothing to forget of it")
    if found:
        remove_records([job.id for job in found])
    return found


def is_own_job(job: KnownJob) -> bool:
    """Whether the job has a record in the user's private folder: what a run folder says may have been written by anybody."""
    record = read_record(job.id)
    return record is not None and (record.started, record.run) == (job.record.started, job.record.run)


def _asked_at_door(run_folder: str, message: Mapping[str, Any]) -> str:
    """The token of a request that the run's door has taken, and waited for; empty where there is none on this machine."""
    asked = ask_at_door(run_folder, message)
    return "" if asked is None else asked.token


def _answered(job: KnownJob, look: Callable[[], _Answer | None], hint: str) -> _Answer:
    """The answer to a request, once there is one; ToolError when the job has ended without."""
    since = time.time()
    while (answer := look()) is None:
        now = as_now(job)
        _refuse_silence(now, since)
        if now.over:
            answer = look()  # it may have been the last thing that it did
            if answer is not None:
                break
            raise ToolError(f"{now.sentence()}: it ended before it saw the request", hint=hint)
        time.sleep(_POLL)
    return answer


def _refuse_silence(job: KnownJob, since: float) -> None:
    """A run that is known by its folder alone may never have begun, or be gone: nobody waits for that for ever."""
    if job.state != "elsewhere":
        return
    seen = sign_of_life(job.record.run)
    if time.time() - max(seen or 0.0, since) > _SILENT:
        last = (
            "there is no sign of life of it"
            if seen is None
            else f"its last sign of life is {spoken_time(time.time() - seen)} old"
        )
        raise ToolError(
            f"{job.id} was asked, and has not answered for {spoken_time(_SILENT)}: {last}",
            hint="the request stays in its run folder; what has started it there knows more: squeue, kubectl, ps",
        )


def _ended_itself(job: KnownJob) -> KnownJob:
    """The job after it has ended as it was asked to; ToolError when it does not say so."""
    until = time.monotonic() + _FAR
    while not (job := as_now(job)).over:
        if time.monotonic() > until:
            raise ToolError(
                f"{job.id} was asked to end at once, and nothing has been heard of its end for {_FAR:g} seconds",
                hint="end it by what has started it there: scancel, kubectl delete, or forge abort on its machine",
            )
        time.sleep(_POLL)
    return job


def _written_down(job: KnownJob) -> KnownJob:
    """The job after its keeper has written down the end, or after we did where no keeper is left."""
    until = time.monotonic() + _KEEPER_SECONDS
    while is_alive(job.record.keeper) and not (job := as_now(job)).record.ended and time.monotonic() < until:
        time.sleep(_POLL)
    if not job.record.ended:
        with contextlib.suppress(FileError):
            change_record(job.id, ended=moment(), keeper=None)
    return as_now(job)
