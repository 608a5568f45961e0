"""A sweep: many runs of one config, some at a time, and ``sweep.json``, by which it goes on where it was."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final

from forge.base.errors import FileError, UsageError
from forge.base.files import make_folder, write_atomic
from forge.base.json_file import read_json
from forge.base.locks import claim
from forge.base.origin import shown_path
from forge.control.follow import last_lines
from forge.control.jobs import stop, wait_for_end
from forge.control.known import job_of_run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from forge.base.locks import Claim
    from forge.control.known import KnownJob

__all__ = ["Member", "Sweep", "carry_on", "open_sweep", "planned_members", "sweep_name"]

_FILE: Final = "sweep.json"
_LOCK: Final = ".sweep.lock"
_LIMIT: Final = 16 << 20
_PAUSE: Final = 0.1
_LAST: Final = 50  # lines of a log
_SAFE: Final = re.compile(r"[^\w.=+,-]+")
_LONGEST: Final = 100


@dataclass
class Member:
    """One run of a sweep: the value of each axis, where it writes, and what has become of it."""

    name: str
    values: dict[str, str]
    output: str
    run: str = ""
    job: str = ""  # of a cluster
    state: str = "waiting"
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def done(self) -> bool:
        """Whether it has taken all its steps."""
        return self.state == "finished"


@dataclass
class Sweep:
    """The runs of a sweep, and what they have in common."""

    folder: str
    about: dict[str, Any]
    members: list[Member]
    held: Claim | None = field(default=None, repr=False)

    def save(self) -> None:
        """Write down what has become of the runs."""
        members = [asdict(member) for member in self.members]
        write_atomic(os.path.join(self.folder, _FILE), json.dumps({**self.about, "runs": members}, indent=1))

    def close(self) -> None:
        """Let another process go on with the sweep."""
        if self.held is not None:
            self.held.release()


def sweep_name(about: Mapping[str, Any]) -> str:
    """The name of a sweep's folder, after what it varies: the same line finds the same sweep again."""
    axes = [key.lstrip("+~").rpartition(".")[2] for key in about["axes"]]
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:8]
    return f"{_SAFE.sub('-', '-'.join(axes))[:_LONGEST]}-{digest}"


def open_sweep(folder: str, about: dict[str, Any], points: Sequence[Mapping[str, str]]) -> Sweep:
    """The sweep in a folder as it was left, or a new one; UsageError while another process carries it out."""
    make_folder(folder)
    held = claim(os.path.join(folder, _LOCK), f"process {os.getpid()}")
    if held is None:
        raise UsageError(f"{shown_path(folder)} is being carried out by another process")
    before = _written(folder)
    members = planned_members(folder, points)
    members = [before.get(member.name, member) for member in members]
    return Sweep(folder, about, members, held)


def planned_members(folder: str, points: Sequence[Mapping[str, str]]) -> list[Member]:
    """The runs that a sweep would have, of which nothing is written yet."""
    return [_member(folder, number, point) for number, point in enumerate(points)]


def carry_on(
    sweep: Sweep,
    begin: Callable[[Member, int], str],
    measure: Callable[[KnownJob], dict[str, Any]],
    *,
    most: int = 1,
    keep_going: bool = False,
    say: Callable[[str], None],
) -> bool:
    """Carry out what is not finished, ``most`` runs at a time; whether all runs are finished then.

    ``begin`` starts a run in one of ``most`` places, and returns its folder. The first run that fails keeps further ones from being
    started, unless the sweep is to keep going. Ctrl-C asks the runs to stop, and waits until they have saved.
    """
    waiting = [member for member in sweep.members if not member.done]
    running: dict[int, Member] = {}
    failed = False
    try:
        while running or (waiting and not failed):
            while waiting and len(running) < most and not failed:
                place = next(number for number in range(most) if number not in running)
                with _uninterrupted():
                    running[place] = _begun(sweep, waiting.pop(0), place, begin, say)
            for place, member in list(running.items()):
                if _ended(sweep, member, measure, say):
                    del running[place]
                    failed = failed or (not member.done and not keep_going)
            if running:
                time.sleep(_PAUSE)
    except KeyboardInterrupt:
        say("asked to stop: waiting until what runs has saved")
        _stop(sweep, list(running.values()), measure, say)
        return False
    return all(member.done for member in sweep.members)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Hear a Ctrl-C at the end: a run that is being started, and is not written down yet, would be left behind."""
    heard: list[int] = []
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.default_int_handler:  # nobody is interrupted by it anyway
        yield
        return
    signal.signal(signal.SIGINT, lambda number, _: heard.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if heard:
        raise KeyboardInterrupt


def _member(folder: str, number: int, point: Mapping[str, str]) -> Member:
    text = ",".join(f"{key.lstrip('+~').rpartition('.')[2]}={value}" for key, value in point.items())
    name = f"{number:03}-{_SAFE.sub('-', text)[:_LONGEST]}".strip("-.")
    return Member(name, dict(point), os.path.join(folder, name))


def _written(folder: str) -> dict[str, Member]:
    path = os.path.join(folder, _FILE)
    if not os.path.exists(path):
        return {}
    try:
        runs = read_json(path, _LIMIT)["runs"]
        found = [Member(**one) for one in runs]
    except (ValueError, KeyError, TypeError) as error:
        raise FileError(f"{shown_path(path)} describes no sweep: {error}", hint="remove it to begin anew") from error
    for member in found:
        member.output = os.path.join(folder, member.name)  # the folder may have been moved
    return {member.name: member for member in found}


def _begun(
    sweep: Sweep, member: Member, place: int, begin: Callable[[Member, int], str], say: Callable[[str], None]
) -> Member:
    """Start a run, or wait for one that a sweep which is gone has started."""
    number = sweep.members.index(member) + 1
    job = job_of_run(member.run) if member.run else None
    if job is not None and job.running:
        say(f"[{number}/{len(sweep.members)}] {member.name}: {job.id} is running already")
    elif job is None or job.state != "finished":
        member.run = begin(member, place)
        member.state = "running"
        say(f"[{number}/{len(sweep.members)}] {member.name}: started, {shown_path(member.run)}")
    sweep.save()
    return member


def _ended(
    sweep: Sweep, member: Member, measure: Callable[[KnownJob], dict[str, Any]], say: Callable[[str], None]
) -> bool:
    job = job_of_run(member.run)
    if job is not None and not job.over:
        return False
    member.state = "lost" if job is None else job.state
    member.figures = {} if job is None else measure(job)
    sweep.save()
    number = sweep.members.index(member) + 1
    say(f"[{number}/{len(sweep.members)}] {'lost' if job is None else job.sentence()}{_reason(job)}")
    return True


def _reason(job: KnownJob | None) -> str:
    """What a run that failed has said last, as far as its log is there."""
    if job is None or job.state != "failed" or not os.path.isfile(job.record.console):
        return ""
    lines = [line for line in last_lines(job.record.console, _LAST)[0] if line.strip()]
    errors = [line for line in lines if line.startswith("error:")]
    return "".join(f"\n  {line}" for line in (errors or lines)[-1:])


def _stop(
    sweep: Sweep, running: list[Member], measure: Callable[[KnownJob], dict[str, Any]], say: Callable[[str], None]
) -> None:
    jobs = [(member, job) for member in running if (job := job_of_run(member.run)) is not None]
    for _, job in jobs:
        if not job.over:
            stop(job)
    for member, job in jobs:
        wait_for_end(job)
        _ended(sweep, member, measure, say)
