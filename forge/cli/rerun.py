"""Starts what a run was started as once more: its config with its overrides, on the same devices, in as many processes."""

from __future__ import annotations

import os
import shlex
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from forge.base.errors import FileError, UsageError
from forge.base.files import read_bounded
from forge.base.origin import shown_path
from forge.base.secrets import MASK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from forge.api.config import ConfigHandle
    from forge.api.run import PlannedRun
    from forge.control.known import KnownJob
    from forge.launch.local import LocalLaunch
    from forge.launch.topology import Topology

__all__ = ["Rerun", "ended_job", "frozen_run", "rerun"]

_LIMIT = 1 << 20
_RESUME = "resume_from_checkpoint"


class Rerun(NamedTuple):
    """A run that can begin again, the line that begins it, and what its user should know before."""

    planned: PlannedRun
    line: str
    notes: list[str]
    topology: Topology | None = None  # where it is handed to, if it is not for this machine alone


def rerun(
    job: KnownJob, more: Sequence[str], *, resumes: bool, checkpoint: str = "auto", folder: str | None = None
) -> Rerun:
    """Plan the run that a past one was, where that was; with ``resumes`` it goes on from a checkpoint, the newest by default.

    ``folder`` has its frozen config, where its own run folder is not here.
    """
    from forge.api.project import open_project
    from forge.api.run import PastRun
    from forge.build.frozen import thaw
    from forge.cli.handing_over import begun_again
    from forge.cli.pasted import forge_words
    from forge.launch.run_folder import new_run_folder

    if job.running:
        raise UsageError(f"{job.id} is running", hint=f"stop it first: forge stop {job.id}")
    past = folder or job.record.run
    facts = thaw(past).facts
    project = open_project(facts.project_folder)
    before = project.config(facts.config)
    own = [_change(before, one) for one in facts.overrides]
    own = [one for one in own if _key(one) != f"{facts.main}.{_RESUME}"]
    if any(_expression(one).endswith(f"={MASK}") for one in own):
        raise UsageError(f"{job.id} was started with a secret, which no run folder keeps", hint="start it by hand")
    changes = [*own, *([f"++{facts.main}.{_RESUME}={checkpoint}"] if resumes else []), *more]
    config = project.config(facts.config, *changes)
    planned = config.plan_run()
    planned = planned._replace(folder=new_run_folder(planned.output, config.name))
    topology = _topology(past, config, more)
    if topology is None:
        planned = planned._replace(launch=_launch(job, planned.folder))
    changed = [line for line in PastRun(past).diff(config).text().splitlines() if _RESUME not in line]
    notes = ["what is otherwise than then:", *(f"  {line}" for line in changed)] if changed else []
    hosts = topology.hosts if topology is not None else ()
    line = shlex.join(["forge", *forge_words(config, hosts)])
    return Rerun(planned if topology is None else begun_again(planned, topology), line, notes, topology)


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
    from forge.base.files import remove_tree, write_atomic, write_temporary
    from forge.launch.cluster_jobs import frozen_files

    if os.path.isdir(job.record.run) or (job.record.cluster or {}).get("kind") != "k8s":
        yield job.record.run
        return
    folder = os.path.dirname(write_temporary("run", job.id))
    try:
        for name, text in frozen_files(job).items():
            write_atomic(os.path.join(folder, os.path.basename(name)), text)
        yield folder
    finally:
        remove_tree(folder)


def _topology(run_folder: str, config: ConfigHandle, more: Sequence[str]) -> Topology | None:
    """Where the run was handed to, or where it is to be handed to now."""
    from forge.cli.handing_over import built_topology
    from forge.launch.run_folder import read_topology

    before = read_topology(run_folder)
    if before is None or not any(_key(one).partition(".")[0] == "launch" for one in more):
        return before
    return built_topology(config)


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


def _launch(job: KnownJob, folder: str) -> LocalLaunch:
    """The command of the run, with a new run folder in place of its own."""
    import json

    from forge.launch.local import LocalLaunch

    path = os.path.join(job.record.run, "launch.json")
    try:
        written = json.loads(read_bounded(path, _LIMIT))
        command, environment = [str(word) for word in written["command"]], dict(written["environment"])
    except (FileError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{shown_path(path)} does not say how the run was started") from error
    own = os.path.realpath(job.record.run)
    places = [number for number, word in enumerate(command) if os.path.realpath(word) == own]
    if not places or command[1:2] != ["-m"]:
        raise UsageError(
            f"{job.id} was not started on this machine alone: {shlex.join(command[:3])} ...",
            hint="start it as it was started: --dry-run of its `forge train` line shows what that does",
        )
    for place in places:
        command[place] = folder
    return LocalLaunch(tuple(command), environment)
