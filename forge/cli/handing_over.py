"""Hands a planned run over: to this machine's supervisor, to hosts that ssh reaches, to Slurm or to Kubernetes."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING, Final, NamedTuple

from forge.base.errors import UsageError
from forge.base.origin import shown_path

if TYPE_CHECKING:
    from forge.api.config import ConfigHandle
    from forge.api.run import PlannedRun
    from forge.cli.output import Output
    from forge.control.known import KnownJob
    from forge.launch.local import LocalPlan
    from forge.launch.supervise import Detached
    from forge.launch.topology import Topology

__all__ = [
    "HandingOver",
    "begun_again",
    "built_topology",
    "hand_over",
    "is_ready",
    "prepare_run",
    "start_run",
]

_JOB: Final = "job.sbatch"
_LARGEST: Final = 1 << 20  # what a cluster takes as one config


class HandingOver(NamedTuple):
    """Whether the run is only shown, or only prepared, goes on in the background, and what is waited for."""

    dry_run: bool = False
    prepares: bool = False
    detach: bool = False
    shows_logs: bool = False
    waits: bool = False


def hand_over(
    output: Output, planned: PlannedRun, topology: Topology, how: HandingOver, past: KnownJob | None = None
) -> int:
    """Start a run somewhere else than in processes of this machine alone, and return its exit code, or 0 once it is handed over.

    It takes the place of a ``past`` one that has ended.
    """
    if topology.kind == "ssh":
        return _on_hosts(output, planned, topology, how)
    if topology.kind == "slurm":
        return _by_slurm(output, planned, topology, how)
    return _on_kubernetes(output, planned, topology, how, past)


def built_topology(config: ConfigHandle) -> Topology:
    """Where the config's launch says that the run happens, by default on this machine; UsageError when it cannot be."""
    from forge.launch.consent import require_launch_trust
    from forge.launch.topology import Topology

    if "launch" not in config.composed.tree:
        return Topology()
    line = shlex.join(["forge", "-p", shown_path(config.project.folder), "-t", config.name, "trust"])
    require_launch_trust(config.graph.root, config.project.folder, line)
    try:
        found = config.build("launch")
    except (ValueError, TypeError) as error:
        raise UsageError(
            f"launch: {error}", hint="`forge show` has what it comes to, `forge why launch.KEY` where it is written"
        ) from error
    if not isinstance(found, Topology):
        raise UsageError("launch is no topology", hint="choose one: launch=local, ssh, slurm, k8s_pytorchjob ...")
    return found


def begun_again(planned: PlannedRun, topology: Topology) -> PlannedRun:
    """The run, told to go on from its own checkpoints where it may be started several times."""
    from forge.launch.prepare import begins_again

    config = planned.config
    trainer = config.data(resolve=True, path=config.main)
    if not isinstance(trainer, dict) or not begins_again(topology, trainer, planned.output):
        return planned
    return planned._replace(config=config.override(f"++{config.main}.resume_from_checkpoint=auto"))


def start_run(output: Output, planned: PlannedRun, *, detach: bool) -> int:
    """Start a run from here, on this terminal or in the background."""
    if not detach:
        return planned.start()
    output.write(_started(planned.start_detached()))
    return 0


def prepare_run(output: Output, planned: PlannedRun) -> int:
    """Write the run folder of a run that somebody else starts, and say how."""
    planned.prepare()
    return _tell_prepared(output, planned)


def _tell_prepared(output: Output, planned: PlannedRun) -> int:
    output.write(f"run folder {shown_path(planned.folder)} is made, what starts it is\n  {planned.launch}")
    return 0


def _on_hosts(output: Output, planned: PlannedRun, topology: Topology, how: HandingOver) -> int:
    """On machines that are reached by ssh."""
    from forge.cli.pasted import as_comment, preparing
    from forge.launch.hosts import host_commands, hosts_file
    from forge.launch.local import LocalLaunch
    from forge.launch.process import module_command
    from forge.launch.run_folder import topology_file

    folder = os.path.abspath(planned.folder)
    commands = host_commands(topology, folder, os.getcwd())
    launch = LocalLaunch(tuple(module_command("forge.launch.hosts", [folder])))
    planned = planned._replace(launch=launch, beside=(topology_file(topology), hosts_file(commands)))
    if how.dry_run:
        each = [as_comment(shlex.join(command)) for command in commands]
        lines = [*preparing(planned, topology.hosts), str(planned.launch), as_comment("which starts"), *each]
        output.write("\n".join(lines))
    ready = is_ready(output, planned, topology=topology, dry_run=how.dry_run)
    if how.dry_run or not ready:
        return 0 if how.dry_run else 2
    if how.prepares:
        return prepare_run(output, planned)
    output.flush()
    return start_run(output, planned, detach=how.detach)


def _by_slurm(output: Output, planned: PlannedRun, topology: Topology, how: HandingOver) -> int:
    """As a job of Slurm."""
    from forge.base.files import make_folder
    from forge.cli.pasted import job_lines, preparing
    from forge.launch.local import LocalLaunch
    from forge.launch.run_folder import topology_file
    from forge.launch.slurm import job_log, sbatch_script
    from forge.launch.slurm_jobs import follow_job, submit

    folder = os.path.abspath(planned.folder)
    script, path = sbatch_script(topology, folder), os.path.join(folder, _JOB)
    launch = LocalLaunch(("sbatch", "--parsable", path))
    planned = planned._replace(launch=launch, beside=(topology_file(topology), (_JOB, script)))
    if how.dry_run:
        output.write("\n".join([*preparing(planned), *job_lines(script)]))
    ready = is_ready(output, planned, topology=topology, dry_run=how.dry_run)
    if how.dry_run or not ready:
        return 0 if how.dry_run else 2
    planned.prepare()
    make_folder(os.path.dirname(job_log(topology, folder)))
    if how.prepares:
        return _tell_prepared(output, planned)
    job = submit(path, folder=os.getcwd())
    log = job_log(topology, folder, job)
    known = planned.handed_over({"kind": "slurm", "job": job}, log)
    output.write(
        f"job {job} submitted, run folder {shown_path(planned.folder)}\n"
        f"  log {shown_path(log)}; forge control status {known.id}, stop {known.id}: to see and to end it; "
        f"for Slurm it is squeue -j {job}, scancel --full {job}"
    )
    if not (how.shows_logs or how.waits):
        return 0
    write = output.write if how.shows_logs else _nowhere
    state = follow_job(job, log, write)
    known.ended(state.code)
    output.note(f"job {job}: {state.words}")
    return 1 if state.code is None else state.code


def _nowhere(_text: str) -> None:
    """Where a log goes that nobody wants to see."""


def _on_kubernetes(
    output: Output, planned: PlannedRun, topology: Topology, how: HandingOver, past: KnownJob | None
) -> int:
    """On Kubernetes: the manifests are applied, or written for kubectl where the client is not installed."""
    from forge.base.files import make_folder, write_atomic
    from forge.launch.cluster_jobs import cluster_of, free_name
    from forge.launch.k8s import as_yaml, manifests
    from forge.launch.k8s_client import apply, client_missing
    from forge.launch.prepare import on_a_volume

    if how.prepares:
        raise UsageError(
            "the manifests bring the run folder with them", hint="--dry-run prints them, for kubectl apply -f -"
        )
    on_a_volume(topology, planned.output)
    documents = manifests(topology, planned.folder, _frozen(planned.config, topology))
    if how.dry_run:
        output.write(as_yaml(documents))
    ready = is_ready(output, planned, topology=topology, dry_run=how.dry_run)
    if how.dry_run or not ready:
        return 0 if how.dry_run else 2
    if missing := client_missing():
        path = os.path.join("output", f"{topology.job_name}.yaml")
        make_folder("output")
        write_atomic(path, as_yaml(documents))
        raise UsageError(missing, hint=f"the manifests are in {path}: kubectl apply -f {path}")
    if past is not None:
        free_name(past, topology, output.note)
    for line in apply(documents):
        output.write(line)
    known = planned.handed_over(cluster_of(topology, documents))
    output.write(f"{known.id} is what `forge control` knows it by: status, logs, save, stop, abort, set, cleanup")
    return 0


def _frozen(config: ConfigHandle, topology: Topology) -> dict[str, str]:
    """The files of a frozen config, for a run folder that is somewhere else."""
    from forge.base.files import read_bounded
    from forge.cli.frozen_config import frozen
    from forge.launch.run_folder import topology_file

    with frozen(config) as folder:
        names = os.listdir(folder)
        written = {name: read_bounded(os.path.join(folder, name), _LARGEST).decode() for name in names}
        written.update([topology_file(topology)])
        return dict(sorted(written.items()))


def _started(job: Detached) -> str:
    where = f"process {job.pid}, run folder {shown_path(job.folder)}"
    if not job.id:
        return f"started: {where}; a file named STOP in that folder stops it"
    return f"{job.id} started: {where}\n  logs {job.id} -f, attach {job.id}, stop {job.id}: to see and to end it"


def is_ready(
    output: Output,
    planned: PlannedRun,
    *,
    plan: LocalPlan | None = None,
    topology: Topology | None = None,
    dry_run: bool = False,
) -> bool:
    """Whether there is what a run needs, on this machine by its plan, or on others as far as their topology tells; what is not is printed.

    After a ``dry_run``, whose command may be for another machine, it is no reason to end otherwise.
    """
    from forge.launch.preflight import handed_preflight, preflight, shared_preflight

    root, main = planned.config.graph.root, str(planned.config.main)
    findings = handed_preflight(root, main, topology) if topology is not None else []
    if plan is not None:
        findings += preflight(root, main, plan, planned.output, planned.config.project.source_folders)
    elif topology is None or not topology.kind.startswith("k8s"):  # what pods write to is not here
        findings += shared_preflight(root, main, planned.output)
    for finding in findings:
        output.note(f"{finding.severity}: {finding}")
    errors = sum(finding.severity == "error" for finding in findings)
    if errors:
        what = "a run would not start from here" if dry_run else "nothing was started"
        output.note(f"{planned.config.name}: {what}, there is not what it needs")
    return not errors
