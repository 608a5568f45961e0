"""A run at one moment, as lines for a terminal: how far it is, its figures, its curve, its processes, its last events."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from forge.base.origin import shown_path
from forge.base.sizes import shown_size
from forge.control.known import shown_loss, spoken_time
from forge.control.processes import family, resident_bytes
from forge.control.progress import progress_of, sign_of_life
from forge.report.compare import shown_number
from forge.report.plot import plotted
from forge.report.ranks import beats_of, rank_lines

if TYPE_CHECKING:
    from collections.abc import Iterator

    from forge.control.known import KnownJob
    from forge.control.progress import RunProgress
    from forge.report.figures import LoggedFigures, Record

__all__ = ["event_text", "remaining", "short_line", "view"]

_EVENTS: Final = 4
_PROCESSES: Final = 8
_RANKS: Final = 4  # lines of ranks that are not equally far
_QUIET: Final = 30.0  # seconds without a sign, after which that is told
_SHOWN: Final = ("step", "event", "changed", "checkpoint")


def view(job: KnownJob, figures: LoggedFigures, *, width: int, height: int, dots: bool = True) -> list[str]:
    """The lines, of which there are as many as the height allows; the curve takes what is left."""
    progress = progress_of(job.record.run)
    head = [_title(job, progress), *_figures(figures), *_speeds(job, figures, progress), *_processes(job)]
    tail = _events(figures)
    room = height - len(head) - len(tail) - 3
    last = None if job.over else progress.total
    curve = plotted(figures.series("loss"), width=width, height=max(4, room), dots=dots, last=last)
    title = ["", "loss"] if curve else ["", "no step has been logged yet"]
    return [line[:width] for line in (*head, *title, *curve, *tail)]


def short_line(job: KnownJob, figures: LoggedFigures) -> str:
    """The same in one line, for a log."""
    progress = progress_of(job.record.run)
    left = remaining(figures, progress) if job.running else None
    parts = [
        f"{job.id} {job.how}",
        f"step {progress.steps}" if progress.steps else "no step yet",
        "" if progress.loss is None else f"loss {shown_loss(progress.loss)}",
        "" if progress.tokens_per_second is None else f"{shown_number(progress.tokens_per_second)} tokens/s",
        "" if left is None else f"{spoken_time(left)} left",
    ]
    return "  ".join(filter(None, parts))


def remaining(figures: LoggedFigures, progress: RunProgress) -> float | None:
    """The seconds until the last step, at the pace of the last ones."""
    pace = figures.step_seconds()
    if pace is None or progress.step is None or progress.total is None:
        return None
    return (progress.total - progress.step) * pace


def event_text(event: Record) -> str:
    """An event of a run as a line: ``step 40: set lr_scale 1.0 -> 0.5``."""
    more = {name: value for name, value in event.items() if name not in _SHOWN}
    parts = [str(event["event"])]
    for name, pair in dict(event.get("changed") or {}).items():
        parts.append(f"{name} {pair[0]} -> {pair[1]}")
    if "checkpoint" in event:
        parts.append(f"from {shown_path(str(event['checkpoint']))}")
    parts += [f"{name} {value}" for name, value in more.items() if isinstance(value, (str, int, float))]
    return f"step {event['step']}: {' '.join(parts)}"


def _title(job: KnownJob, progress: RunProgress) -> str:
    parts = [job.id, job.config, job.how]
    if job.seconds is not None:
        parts.append(spoken_time(job.seconds))
    seen = sign_of_life(job.record.run)
    if not job.over and seen is not None and time.time() - seen > _QUIET:
        parts.append(f"(no step for {spoken_time(time.time() - seen)})")
    if progress.steps:
        share = f" ({100 * (progress.step or 0) / progress.total:.0f} %)" if progress.total else ""
        parts.append(f"step {progress.steps}{share}")
    return "  ".join(parts)


def _figures(figures: LoggedFigures) -> Iterator[str]:
    points = figures.series("loss")
    parts = []
    if points:
        best = min(points, key=lambda point: point[1])
        parts.append(f"loss {shown_loss(points[-1][1])} (least {shown_loss(best[1])} at {best[0]:g})")
    parts += [
        f"{name} {shown_loss(series[-1][1])} at {series[-1][0]:g}"
        for name, series in figures.evaluated().items()
        if series
    ]
    for name, text in (("lr", "lr {:.2e}"), ("grad_norm", "gradients {:.3g}")):
        value = figures.last(name)
        if value is not None:
            parts.append(text.format(value))
    if parts:
        yield "  ".join(parts)


def _speeds(job: KnownJob, figures: LoggedFigures, progress: RunProgress) -> Iterator[str]:
    speed, mean = figures.last("tokens_per_second"), figures.mean("tokens_per_second", 20)
    if speed is None or mean is None:
        return
    left = None if job.over else remaining(figures, progress)
    ahead = f"  {spoken_time(left)} left" if left else ""
    yield f"{shown_number(speed)} tokens/s (mean {shown_number(mean)})  {_shares(figures)}{ahead}".rstrip()


def _shares(figures: LoggedFigures) -> str:
    """Where the time of the last steps went, the largest part first."""
    seconds: dict[str, float] = {}
    for record in figures.steps[-20:]:
        for name, spent in dict(record.get("seconds") or {}).items():
            seconds[name] = seconds.get(name, 0.0) + spent
    whole = sum(seconds.values())
    parts = sorted(seconds.items(), key=lambda part: -part[1])
    return " ".join(f"{name} {100 * spent / whole:.0f} %" for name, spent in parts if whole and spent / whole >= 0.01)  # noqa: PLR2004 - what is shown as 0 % says nothing


def _processes(job: KnownJob) -> Iterator[str]:
    """What they are together, and how far each rank among them is."""
    if not job.running or job.record.process is None:
        return
    members = family([job.record.process])
    held = {who: size for who in members if (size := resident_bytes(who)) is not None}
    if held:
        largest = sorted(held.items(), key=lambda one: -one[1])
        shown = ", ".join(f"{who.pid} {shown_size(size)}" for who, size in largest[:_PROCESSES])
        more = f" and {len(held) - _PROCESSES} more" if len(held) > _PROCESSES else ""
        count = f"{len(held)} process{'es' * (len(held) > 1)}, {shown_size(sum(held.values()))}"
        yield count if len(held) == 1 else f"{count}: {shown}{more}"
    yield from rank_lines(beats_of(members))[:_RANKS]


def _events(figures: LoggedFigures) -> list[str]:
    last = figures.events[-_EVENTS:]
    return ["", *map(event_text, last)] if last else []
