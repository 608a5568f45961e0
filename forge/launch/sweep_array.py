"""The runs of a sweep as one array of jobs of Slurm: the number of a job chooses its run folder."""

from __future__ import annotations

import os
import shlex
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from forge.base.errors import UsageError
from forge.base.files import make_folder, write_atomic
from forge.control.known import job_of_run
from forge.launch.slurm import sbatch_script
from forge.launch.slurm_jobs import job_state, submit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from forge.control.known import KnownJob
    from forge.launch.sweep import Member, Sweep
    from forge.launch.topology import Topology

__all__ = ["array_logs", "array_script", "look_again", "submit_rest"]


def array_logs(topology: Topology, sweep_folder: str) -> str:
    """The folder of what the jobs print, which has to be there before they begin."""
    return topology.log_folder or os.path.join(sweep_folder, "logs")


def array_script(topology: Topology, sweep_folder: str, run_folders: Sequence[str], most: int) -> str:
    """The script for runs whose folders, absolute paths, are there already; at most so many run at once."""
    if topology.array or "array" in topology.sbatch:
        hint = "leave it out of launch; --sweep-jobs N says how many run at once"
        raise UsageError("a sweep is an array of jobs by itself", hint=hint)
    if topology.rdzv_id:
        raise UsageError("the runs of a sweep would all meet under one id", hint="leave out launch.rdzv_id")
    array = f"0-{len(run_folders) - 1}%{most}"
    logs = array_logs(topology, sweep_folder)
    whole = replace(topology, sbatch={**topology.sbatch, "array": array}, log_folder=logs)
    lines = sbatch_script(whole, sweep_folder).split("\n")
    # Where another script names its one run, each job of this one takes its own.
    place = lines.index(f"run={shlex.quote(sweep_folder)}")
    chosen = [f"runs=({' '.join(map(shlex.quote, run_folders))})", 'run="${runs[$SLURM_ARRAY_TASK_ID]}"']
    return "\n".join([*lines[:place], *chosen, *lines[place + 1 :]])


def look_again(sweep: Sweep, measure: Callable[[KnownJob], dict[str, Any]]) -> None:
    """Find out what has become of the runs that were handed to Slurm."""
    for member in sweep.members:
        if member.job and not member.done:
            _look(member, measure)
    sweep.save()


def submit_rest(sweep: Sweep, topology: Topology, prepare: Callable[[Member], str], most: int) -> str:
    """Hand over every run that is neither finished nor in the queue; the number of the job, empty when there was none to hand over.

    ``prepare`` makes the folder of a run, and returns its absolute path.
    """
    rest = [member for member in sweep.members if not member.done and member.state not in {"queued", "running"}]
    if not rest:
        return ""
    for member in rest:
        member.run = prepare(member)
    script = array_script(topology, sweep.folder, [member.run for member in rest], most)
    path = os.path.join(sweep.folder, "job.sbatch")
    write_atomic(path, script)
    make_folder(array_logs(topology, sweep.folder))
    number = submit(path, folder=os.getcwd())
    for place, member in enumerate(rest):
        member.job, member.state, member.figures = f"{number}_{place}", "queued", {}
    sweep.save()
    return number


def _look(member: Member, measure: Callable[[KnownJob], dict[str, Any]]) -> None:
    found = job_state(member.job)
    if not found.over:  # one that is queued again has ended before
        member.state = "running" if found.state == "RUNNING" else "queued"
        return
    job = job_of_run(member.run)
    member.state = job.state if job is not None and job.over else "failed"
    member.figures = {} if job is None else measure(job)
