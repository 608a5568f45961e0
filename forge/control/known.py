"""The jobs of this user, by their records or by their run folders: which there are, and how they are.

A job is running as long as its process is, or the one that waits for it and is about to write down how it ended.
"""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from forge.base.errors import ForgeError, UsageError
from forge.base.json_file import read_json
from forge.base.spelling import did_you_mean
from forge.control.processes import is_alive
from forge.control.progress import progress_of, sign_of_life
from forge.control.record import JobRecord, job_records, read_copy, read_record
from forge.control.register import this_host
from forge.control.requests import ENDING_FILE

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "FACTS",
    "KnownJob",
    "State",
    "as_now",
    "cluster_name",
    "find_job",
    "job_of_run",
    "known_jobs",
    "shown_loss",
    "spoken_time",
]

State = Literal["running", "finished", "stopped", "failed", "aborted", "lost", "elsewhere"]
"""``lost``: it is gone, and nobody saw how it ended. ``elsewhere``: it was started on another machine, which has to be asked."""

FACTS: Final = "run.json"
"""The file that makes a folder one of a run."""
_STATES: Final[dict[int, State]] = {0: "finished", 3: "stopped", 130: "aborted"}  # what the codes of a run mean
_SIGNALS: Final = 128
_STEERED: Final = "forge control status, logs, save, stop, abort or set"
_SETTLED: Final = 5.0  # seconds within which the last things that a run writes are written
_LONGEST: Final = 1 << 20
_LARGE: Final = 1e6


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
        if self.state == "elsewhere" and self.record.cluster is not None:
            return f"on {cluster_name(self.record.cluster)}"
        if self.state == "elsewhere":
            return f"on {self.record.host}" if self.record.host else "elsewhere"
        if self.state != "failed" or code is None:
            return self.state
        return f"failed by {_signal_name(code)}" if code > _SIGNALS else f"failed with exit code {code}"

    def sentence(self) -> str:
        """What a person is told of it: ``tiny-1 finished after 3:12, step 300/300, loss 2.3100``."""
        progress = progress_of(self.record.run)
        took = "" if self.seconds is None else f" after {spoken_time(self.seconds)}"
        step = f", step {progress.steps}" if progress.steps else ""
        loss = "" if progress.loss is None else f", loss {shown_loss(progress.loss)}"
        return f"{self.id} {self.how}{took}{step}{loss}"


def known_jobs() -> list[KnownJob]:
    """Every job that there is a record of, the oldest first."""
    return [_known(record) for record in job_records()]


def find_job(name: str | None = None, *, running: bool = False) -> KnownJob:
    """The job with this id, or of this run folder; without one, the only job that is running. With ``running`` it has to be.

    A run on another machine counts as running where its folder can be seen, for what is asked there is asked of the run.
    """
    if name is None:
        found = [job for job in known_jobs() if job.running]
        if len(found) != 1:
            raise _not_one(found)
        return found[0]
    record = read_record(name)
    job = job_of_run(name) if record is None else _known(record)
    if job is None:
        ids = [record.id for record in job_records()]
        raise UsageError(
            f"there is no job {name!r}", hint=did_you_mean(name, ids) or "`forge jobs --all` lists the jobs"
        )
    if running and job.state == "elsewhere" and not os.path.isdir(job.record.run):
        if job.record.cluster is not None:
            raise UsageError(
                f"{job.id} is {job.how}, and its run folder is not here", hint=f"forge control reaches it: {_STEERED}"
            )
        raise UsageError(
            f"{job.id} was started on {job.record.host}", hint=f"forge control --host {job.record.host} ..."
        )
    if running and job.over:
        raise UsageError(f"{job.sentence()}: it is not running")
    return job


def job_of_run(run_folder: str) -> KnownJob | None:
    """The job that a folder is the run of; None when it is no run's."""
    path = os.path.abspath(run_folder)
    copy = read_copy(path)
    if copy is not None:
        record = read_record(copy.id)
        if record is not None and record.started == copy.started:
            known = _known(record)
            # One that goes on is where it writes; one that is over may have been moved, or this be a copy of it.
            if not known.over or _is_same(record.run, path):
                return known
        moved = replace(copy, run=path, console=_moved(copy, path))  # the folder may be mounted elsewhere here
        return _known(moved)
    record = _record_of_unregistered(path)
    return None if record is None else _known(record)


def as_now(job: KnownJob) -> KnownJob:
    """The job as it is now; one that was forgotten meanwhile had ended."""
    record = read_record(job.id)
    if record is not None and record.started == job.record.started:
        if record.run != job.record.run:  # the folder was moved, see job_of_run
            record = replace(record, run=job.record.run, console=job.record.console)
        return _known(record)
    found = job_of_run(job.record.run)
    return KnownJob(job.record, "lost") if found is None else found


def spoken_time(seconds: float) -> str:
    """``0:07``, ``12:40``, ``3:02:10``, ``2 days 3:02:10``."""
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    clock = f"{hour}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
    return f"{days} day{'s' * (days > 1)} {clock}" if days else clock


def shown_loss(value: float | None) -> str:
    """``2.3100``, and nothing for None; not more digits than a cell of a table has room for."""
    return "" if value is None else f"{value:.4f}" if abs(value) < _LARGE else f"{value:.4g}"


def cluster_name(cluster: dict[str, Any]) -> str:
    """What a job that was handed to a cluster is called there: ``Slurm, job 12``, ``Kubernetes, team/tiny``."""
    if cluster.get("kind") == "slurm":
        return f"Slurm, job {cluster.get('job')}"
    return f"Kubernetes, {cluster.get('namespace')}/{cluster.get('name')}"


def _known(record: JobRecord) -> KnownJob:
    state = _state(record)
    # Who would have written down how it ended is gone, or never was on this machine: the run itself has.
    if not record.ended and state in {"lost", "elsewhere"} and (told := _told_ending(record.run)) is not None:
        record = replace(record, code=told.code, ended=_iso(told.at))
        state = _ending(record)
    return KnownJob(record, state)


def _state(record: JobRecord) -> State:
    if record.ended:
        return _ending(record)
    if record.cluster is not None:
        return "elsewhere"
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


def _record_of_unregistered(path: str) -> JobRecord | None:
    """What the folder of a run says that nobody here has started: one that a cluster runs, or of another user."""
    try:
        facts = read_json(os.path.join(path, FACTS), _LONGEST)
        began = os.stat(os.path.join(path, FACTS)).st_mtime
        config, project, overrides = str(facts["config"]), str(facts["project"]), tuple(map(str, facts["overrides"]))
    except (OSError, ForgeError, ValueError, KeyError, TypeError):
        return None
    made: dict[str, Any] = {
        "id": os.path.basename(path),
        "config": config,
        "project": project,
        "overrides": overrides,
        "run": path,
    }
    made["console"] = _newest_log(path)
    return JobRecord(**made, host="", user="", started=_iso(began))


def _moved(record: JobRecord, path: str) -> str:
    """Where the console log of a run is that has another folder now; empty when it is not in there."""
    beside = os.path.relpath(record.console, record.run) if record.console and record.run else ""
    console = os.path.join(path, beside)
    return console if beside and _is_inside(console, path) else ""


def _is_same(folder: str, path: str) -> bool:
    """Whether two names are those of one folder."""
    try:
        return os.path.samefile(folder, path)
    except OSError:
        return False


def _is_inside(path: str, folder: str) -> bool:
    """Whether a file is in a folder, wherever links lead: in the folder of a run may lie what anybody has put there."""
    try:
        return os.path.realpath(path).startswith(os.path.join(os.path.realpath(folder), ""))
    except ValueError:  # no file has such a name
        return False


def _newest_log(path: str) -> str:
    """The log of the job of a cluster that ran last; empty where there is none."""
    folder = os.path.join(path, "logs")
    names = os.listdir(folder) if os.path.isdir(folder) else []
    logs = [os.path.join(folder, name) for name in names if name.endswith(".out")]
    return max((log for log in logs if os.path.isfile(log) and _is_inside(log, path)), key=os.path.getmtime, default="")


class _Told(NamedTuple):
    """What a run has written down of its end: its exit code, and when, in seconds since 1970."""

    code: int
    at: float


def _told_ending(path: str) -> _Told | None:
    """The end that the run itself has written down; None where it has not, and where it was begun again and goes on."""
    file = os.path.join(path, ENDING_FILE)
    try:
        at, seen = os.stat(file).st_mtime, sign_of_life(path)
        if seen is not None and seen > at + _SETTLED:
            return None
        return _Told(int(read_json(file, _LONGEST)["code"]), at)
    except (OSError, ForgeError, ValueError, KeyError, TypeError, OverflowError):
        return None


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="milliseconds")


def _not_one(running: Sequence[KnownJob]) -> UsageError:
    if not running:
        return UsageError("no job is running", hint="name one that has ended: `forge jobs --all` lists them")
    return UsageError(f"{len(running)} jobs are running", hint=f"name one: {', '.join(job.id for job in running)}")


def _signal_name(code: int) -> str:
    try:
        return signal.Signals(code - _SIGNALS).name
    except ValueError:
        return f"signal {code - _SIGNALS}"
