"""What is known of one job, by its record and its run folder; nothing is asked of the job itself, so that it never waits."""

from __future__ import annotations

import os
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from forge.base.origin import shown_path
from forge.base.sizes import shown_size
from forge.control.known import shown_loss, spoken_time
from forge.control.processes import family, resident_bytes
from forge.control.progress import progress_of, sign_of_life
from forge.control.requests import ABORT_FILE, SAVE_FILE, STOP_FILE
from forge.control.settings import SET_FILE
from forge.report.compare import shown_number
from forge.report.ranks import beats_of

if TYPE_CHECKING:
    from forge.control.known import KnownJob

__all__ = ["status_data", "status_lines"]

_RANKS: Final = 16  # that are shown
_REQUESTS: Final = (STOP_FILE, ABORT_FILE, SAVE_FILE, SET_FILE)


def status_data(job: KnownJob) -> dict[str, Any]:
    """The status for programs; memory is that of all processes of the job."""
    record = asdict(job.record)
    kept = {name: value for name, value in record.items() if name not in {"starter", "keeper", "process"}}
    seen = sign_of_life(job.record.run)
    members = [] if not job.running or job.record.process is None else sorted(family([job.record.process]))
    processes = {who.pid: resident_bytes(who) for who in members}
    return {
        **kept,
        "state": job.state,
        "how": job.how,
        "seconds": job.seconds,
        **progress_of(job.record.run)._asdict(),
        "seconds_since_step": None if seen is None else max(0.0, time.time() - seen),
        "processes": [{"pid": pid, "memory": size} for pid, size in processes.items()],
        "ranks": [{"rank": beat.rank, "step": beat.step, "phase": beat.phase} for beat in beats_of(members)],
        "memory": sum(size or 0 for size in processes.values()) or None,
        "waiting": [name for name in _REQUESTS if os.path.exists(os.path.join(job.record.run, name))],
    }


def status_lines(job: KnownJob) -> list[str]:
    """The status for a person."""
    found = status_data(job)
    step, loss = progress_of(job.record.run).steps, shown_loss(found["loss"])
    speed = "" if found["tokens_per_second"] is None else f"{shown_number(found['tokens_per_second'])} tokens/s"
    running = not job.over and found["seconds_since_step"] is not None
    memory = "" if found["memory"] is None else shown_size(found["memory"])
    count = len(found["processes"])
    rows = {
        "job": job.id,
        "config": f"{job.config} of {job.record.project}" if job.record.project else job.config,
        "overrides": " ".join(job.record.overrides),
        "state": job.how,
        "time": "" if job.seconds is None else spoken_time(job.seconds),
        "step": "  ".join(filter(None, [step, f"loss {loss}" if loss else "", speed])),
        "last step": f"{spoken_time(found['seconds_since_step'])} ago" if running else "",
        "processes": f"{count}, {memory}" if count and memory else str(count or ""),
        "ranks": ", ".join(f"{one['rank']} at step {one['step']} ({one['phase']})" for one in found["ranks"][:_RANKS]),
        "waiting": ", ".join(found["waiting"]) if not job.over else "",
        "host": job.record.host,
        "run folder": shown_path(job.record.run),
    }
    width = max(map(len, rows))
    return [f"{name:<{width}}  {text}" for name, text in rows.items() if text]
