"""Starts what a run was started as once more: its config with its overrides, on the same devices, in as many processes."""

from __future__ import annotations

import os
import shlex
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from forge.base.errors import UsageError
from forge.base.origin import shown_path
from forge.base.secrets import MASK
from forge.control.jobs import is_own_job
from forge.control.known import FACTS
from forge.launch.run_folder import read_asked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from forge.api.config import ConfigHandle
    from forge.api.project import ProjectHandle
    from forge.api.run import PlannedRun
    from forge.control.known import KnownJob
    from forge.launch.local import LocalPlan
    from forge.launch.topology import Topology

__all__ = ["Rerun", "ended_job", "frozen_run", "rerun"]

_RESUME = "resume_from_checkpoint"


class Rerun(NamedTuple):
    """A run that can begin again, the line that begins it, what its user should know before, and, on this machine, its plan."""

    planned: PlannedRun
    line: str
    notes: list[str]
    topology: Topology
    plan: LocalPlan | None = None


def rerun(
    job: KnownJob,
    more: Sequence[str],
    *,
    resumes: bool,
    checkpoint: str = "auto",
    folder: str | None = None,
    project: str | None = None,
) -> Rerun:
    """Plan the run that a past one was, where that was; with ``resumes`` it goes on from a checkpoint, the newest by default.

    ``folder`` has its frozen config, where its own run folder is not here, and ``project`` is where its project is, if that was moved.
    """
    from forge.api.run import PastRun
    from forge.build.frozen import thaw
    from forge.cli.handing_over import begun_again
    from forge.cli.pasted import forge_words
    from forge.launch.run_folder import new_run_folder

    if job.running:
        raise UsageError(f"{job.id} is running", hint=f"stop it first: forge stop {job.id}")
    past = folder or job.record.run
    if folder is None or folder == job.record.run:
        _refuse_strange(job, past)
    facts = thaw(past).facts
    home = _project(job, facts.project_folder, project)
    before = home.config(facts.config)
    # Others may be able to write into the run folder, and nobody into the user's own records.
    own = [_change(before, one) for one in (job.record.overrides if is_own_job(job) else facts.overrides)]
    own = [one for one in own if _key(one) != f"{facts.main}.{_RESUME}"]
    if any(_expression(one).endswith(f"={MASK}") for one in own):
        raise UsageError(f"{job.id} was started with a secret, which no run folder keeps", hint="start it by hand")
    changes = [*own, *([f"++{facts.main}.{_RESUME}={checkpoint}"] if resumes else []), *more]
    config = home.config(facts.config, *changes)
    planned = config.plan_run()
    _refuse_elsewhere(job, planned.output, more)
    planned = planned._replace(folder=new_run_folder(planned.output, config.name))
    topology = _topology(past, config, more)
    planned = begun_again(planned, topology)
    plan = _plan(job, topology) if topology.kind == "local" else None
    if plan is not None:
        planned = planned._replace(launch=plan.launch(planned.folder))
    told = PastRun(past).diff(config).text().splitlines()
    changed = [line for line in told if line.strip() and _RESUME not in line]
    notes = ["what is otherwise than then:", *(f"  {line}" for line in changed)] if changed else []
    line = shlex.join(["forge", *forge_words(config, topology.hosts)])
    return Rerun(planned, line, notes, topology, plan)


def ended_job(name: str, find: Callable[[], KnownJob]) -> KnownJob:
    """The run with this name, of which a cluster that has it says that it has ended; ``find`` looks among the run folders."""
    from forge.control.known import as_now, find_job
    from forge.control.record import read_record

    record = read_record(name)
    # What pods write to need not be seen from here.
    job = find_job(name) if record is not None and record.cluster is not None else find()
    if job.record.cluster is None or job.over:
        return job
    from forge.launch.cluster_jobs import ask_cluster  # which takes a client, or programs

    view = ask_cluster(job)
    job = as_now(job)
    if not job.over and not view.over:
        raise UsageError(f"{job.id} is {job.how}: {view.state}", hint=f"stop it first: forge control stop {job.id}")
    return job


@contextmanager
def frozen_run(job: KnownJob) -> Iterator[str]:
    """The folder with the frozen config of a run: its own, or, of one whose folder only pods see, one with what the cluster has of it."""
    from forge.base.files import temporary_folder, write_atomic
    from forge.launch.cluster_jobs import frozen_files

    if os.path.isdir(job.record.run) or (job.record.cluster or {}).get("kind") != "k8s":
        yield job.record.run
        return
    with temporary_folder() as folder:
        for name, text in frozen_files(job).items():
            write_atomic(os.path.join(folder, os.path.basename(name)), text)
        yield folder


def _project(job: KnownJob, folder: str, named: str | None) -> ProjectHandle:
    """The project of a run: where it was then, or, of one that was moved, where it is said to be."""
    from forge.api.project import open_project

    if os.path.isdir(folder):
        return open_project(folder)
    if named is None:
        raise UsageError(
            f"the project of {job.id} was {shown_path(folder)}, which is not there any more",
            hint="say where it is now: forge -p FOLDER runs resume RUN",
        )
    found = open_project(named)
    if found.name != job.record.project:
        raise UsageError(
            f"{job.id} is of the project {job.record.project}, and {shown_path(found.folder)} is {found.name}"
        )
    return found


def _refuse_strange(job: KnownJob, past: str) -> None:
    """What a run folder says may have been written by anybody: only the user's own runs are begun again."""
    if is_own_job(job) or os.stat(os.path.join(past, FACTS)).st_uid in {os.geteuid(), 0}:
        return
    raise UsageError(
        f"{shown_path(job.record.run)} was written by another user",
        hint="look at its config.yaml, and start your own run: forge train",
    )


def _refuse_elsewhere(job: KnownJob, output: str, more: Sequence[str]) -> None:
    """A path in the config that is relative means another place in another folder."""
    moved = any(_key(one).endswith("output_dir") for one in more)
    own = os.path.dirname(os.path.dirname(os.path.abspath(job.record.run)))
    if os.path.isabs(output) or moved or os.path.realpath(output) == os.path.realpath(own):
        return
    folder = read_asked(job.record.run)[1]
    raise UsageError(
        f"{job.id} was started in {folder}, and writes to {output} as seen from there",
        hint=f"cd {shlex.quote(folder)} first, or say where it writes: trainer.output_dir=FOLDER",
    )


def _topology(run_folder: str, config: ConfigHandle, more: Sequence[str]) -> Topology:
    """Where the run is to happen: what its config says, and on the hosts that were named when it was started."""
    from forge.cli.handing_over import built_topology
    from forge.launch.run_folder import read_topology

    before, now = read_topology(run_folder), built_topology(config)
    if before is None or before.kind != "ssh" or any(_key(one).partition(".")[0] == "launch" for one in more):
        return now
    return replace(now, kind="ssh", hosts=before.hosts, nodes=before.nodes)


def _change(config: ConfigHandle, typed: str) -> str | tuple[str, str]:
    """An override as it was typed, and for one of the config's own flags what that stands for."""
    from forge.compose.arguments import flag_override

    flag, _, text = typed.partition(" ")
    found = next((one for one in config.arguments if flag in one.flags), None) if typed.startswith("-") else None
    return typed if found is None else flag_override(found, flag, text, config.project.groups())


def _expression(change: str | tuple[str, str]) -> str:
    return change if isinstance(change, str) else change[0]


def _key(change: str | tuple[str, str]) -> str:
    return _expression(change).lstrip("+~").partition("=")[0]


def _plan(job: KnownJob, topology: Topology) -> LocalPlan:
    """How it starts on this machine, as it was asked for then."""
    from forge.launch.local import plan_local

    asked = read_asked(job.record.run)[0]
    plan = plan_local(asked.devices, asked.nproc, asked.words, topology)
    if plan.meeting is not None:
        raise UsageError(
            f"{job.id} was not started on this machine alone: it met others at {plan.meeting.endpoint}",
            hint="start it as it was started, on each of them",
        )
    return plan
