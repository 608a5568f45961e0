"""``forge control`` for a job that a cluster has: what its run folder cannot tell from here, the cluster is asked for."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from forge.cli.session import Context
    from forge.control.known import KnownJob
    from forge.launch.cluster_jobs import ClusterView

__all__ = ["on_cluster"]

_STEERS: Final = ("save", "stop", "save-stop", "set", "watch")


def on_cluster(context: Context, word: str, words: Sequence[str], flags: Sequence[str]) -> int | None:
    """Do what a word of `control` means for a job of a cluster; None where that is what it means for any job."""
    from forge.control.record import read_record  # `forge --help` asks for no job

    names = [name for name in words if "=" not in name]
    record = read_record(names[0]) if len(names) == 1 else None
    if record is None or record.cluster is None:
        return None
    from forge.control.known import find_job

    job = find_job(record.id)
    if word == "cleanup":
        return _taken_away(context, job)
    if word == "status":
        return _status(context, job)
    unseen = not os.path.isdir(record.run)
    if word == "logs" and unseen:
        return _logs(context, job)
    if job.over:
        return None
    if word == "abort":
        return _abort(context, job)
    changes = [name for name in words if "=" in name]
    return _steer(context, job, [word, *flags, *changes]) if unseen and word in _STEERS else None


def _taken_away(context: Context, job: KnownJob) -> int | None:
    from forge.launch.cluster_jobs import ask_cluster, take_away

    if not job.over:
        ask_cluster(job)  # it may have ended since
        from forge.control.known import as_now

        job = as_now(job)
    if job.over:
        take_away(job, context.output.note)
    return None


def _status(context: Context, job: KnownJob) -> int:
    from forge.control.known import as_now
    from forge.launch.cluster_jobs import ask_cluster, run_on_cluster
    from forge.report.status import status_data, status_lines

    view = ask_cluster(job)
    job = as_now(job)
    if context.options.json:
        pods = [pod._asdict() for pod in view.pods]
        context.emit_json({**status_data(job), "cluster_state": view.state, "pods": pods}, "status")
        return 0
    context.output.write("\n".join([*status_lines(job), *_seen(view)]))
    if job.over or os.path.isdir(job.record.run) or not any(pod.phase == "Running" for pod in view.pods):
        return 0
    context.output.write("in its pods:")
    return run_on_cluster(job, ["control", "status"], _at_once(context))


def _seen(view: ClusterView) -> list[str]:
    lines = [f"cluster     {view.state}"]
    lines += [
        f"pod         {pod.name} {pod.phase}{'' if pod.code is None else f', exit code {pod.code}'}"
        for pod in view.pods
    ]
    return lines


def _logs(context: Context, job: KnownJob) -> int:
    from forge.launch.cluster_jobs import show_logs

    try:
        show_logs(job, context.options.lines, _at_once(context), follow=bool(context.options.follow))
    except KeyboardInterrupt:
        context.output.note(f"{job.id} goes on")
    return 0


def _abort(context: Context, job: KnownJob) -> int:
    from forge.control.known import as_now
    from forge.launch.cluster_jobs import abort_on_cluster

    abort_on_cluster(job, context.output.note)
    context.output.write(as_now(job).sentence())
    return 0


def _steer(context: Context, job: KnownJob, line: Sequence[str]) -> int:
    from forge.launch.cluster_jobs import run_on_cluster

    try:
        return run_on_cluster(job, ["control", *line], _at_once(context))
    except KeyboardInterrupt:
        context.output.note(f"{job.id} goes on with what it was asked for")
        return 0


def _at_once(context: Context) -> Callable[[str], None]:
    """Shows each line as it comes."""

    def write(line: str) -> None:
        context.output.write(line)
        context.output.flush()

    return write
