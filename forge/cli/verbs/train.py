"""``forge train``: check a config, freeze it into a run folder, and run it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forge.base.errors import UsageError
from forge.cli.options import Option, Positional
from forge.cli.registry import Verb

if TYPE_CHECKING:
    from forge.api.config import ConfigHandle
    from forge.api.run import PlannedRun
    from forge.cli.session import Context
    from forge.launch.local import LocalPlan
    from forge.launch.topology import Topology

__all__ = ["VERB"]


def _run(context: Context) -> int:
    if context.options.sweep and context.options.prepare:
        raise UsageError("--prepare makes the folder of one run", hint="leave out --sweep")
    if context.options.sweep:
        from forge.cli.sweep import run_sweep

        return run_sweep(context)
    if context.options.keep_going or context.options.sweep_jobs != 1:
        flag = "--keep-going" if context.options.keep_going else "--sweep-jobs"
        raise UsageError(f"{flag} is for a sweep", hint="name what is varied: train --sweep lr=1e-4,3e-4")
    config = _with_hosts(context)
    if context.in_no_project:
        context.output.note(
            f"there is no project here: this is {config.name} of {config.project.name}, which is part of forge"
            " (forge new project NAME makes one of yours)"
        )
    planned = config.plan_run()
    if context.options.prepare:
        planned = planned._replace(folder=_new_folder(context.options.prepare))
    from forge.cli.frozen_config import is_sound
    from forge.cli.handing_over import HandingOver, begun_again, hand_over

    if not is_sound(context.output, config):
        return 2
    topology = _topology(context, config)
    _refuse_idle_flags(context, topology)
    planned = begun_again(planned, topology)
    if topology.kind == "local":
        return _here(context, planned, topology)

    options = context.options
    how = HandingOver(options.dry_run, bool(options.prepare), options.detach, options.show_logs, options.wait)
    return hand_over(context.output, planned, topology, how)


def _new_folder(folder: str) -> str:
    """A run folder that somebody has chosen; UsageError where something is there already."""
    import os

    from forge.base.origin import shown_path

    if os.path.lexists(folder) and not (os.path.isdir(folder) and not os.listdir(folder)):
        raise UsageError(f"{shown_path(folder)} is there already", hint="a run has a folder of its own: --prepare NEW")
    return folder


def _with_hosts(context: Context) -> ConfigHandle:
    """The config, in which --hosts has taken the place of the hosts where it is for some."""
    config, hosts = context.config, context.options.hosts
    launch = config.composed.tree.get("launch")
    if hosts is None or not isinstance(launch, dict) or launch.get("kind") != "ssh":
        return config
    named = hosts.split(",")
    quoted = ",".join("'" + host.replace("'", "") + "'" for host in named)
    return config.override(f"launch.hosts=[{quoted}]", f"launch.nodes={len(named)}")


def _topology(context: Context, config: ConfigHandle) -> Topology:
    """Where the run happens: what the config's launch says, changed by --hosts."""
    from dataclasses import replace

    from forge.cli.handing_over import built_topology

    topology = built_topology(config)
    if context.options.hosts is None:
        return topology
    hosts = tuple(context.options.hosts.split(","))
    if topology.kind not in {"local", "ssh"}:
        raise UsageError(f"--hosts is for machines that are reached by ssh, and launch is {topology.kind}")
    try:
        return replace(topology, kind="ssh", hosts=hosts, nodes=len(hosts))
    except ValueError as error:
        raise UsageError(str(error), hint="write --hosts a:4,b:2") from error


def _refuse_idle_flags(context: Context, topology: Topology) -> None:
    """A flag that would have no effect is a mistake."""
    options = context.options
    given = {"--show-logs": options.show_logs, "--wait": options.wait}
    if topology.kind != "slurm" and (idle := [name for name, there in given.items() if there]):
        raise UsageError(f"{idle[0]} is for a job of Slurm", hint="choose it with launch=slurm")
    local = {"-d means": options.devices, "--nproc means": options.nproc, "flags of torchrun mean": context.words}
    if topology.kind != "local" and (idle := [name for name, there in local.items() if there]):
        raise UsageError(
            f"{idle[0]} nothing to launch={topology.kind}", hint="set launch.nproc_per_node=N and the like instead"
        )
    if topology.kind == "slurm" and options.detach:
        raise UsageError("a job of Slurm is in the background anyway", hint="leave out --detach")


def _here(context: Context, planned: PlannedRun, topology: Topology) -> int:
    """On this machine, alone or as one of several nodes."""
    import os
    from dataclasses import replace

    from forge.cli.handing_over import begun_again, is_ready, prepare_run, start_run
    from forge.cli.pasted import run_lines
    from forge.launch.local import plan_local

    options = context.options
    plan = plan_local(options.devices, options.nproc, context.words, topology, os.environ)
    restarts = (plan.flags or {}).get("max-restarts", "0")
    if restarts.isdecimal() and int(restarts) and not topology.max_restarts:  # it stands after --
        planned = begun_again(planned, replace(topology, max_restarts=int(restarts)))
    planned = planned._replace(launch=plan.launch(planned.folder))
    if options.dry_run:
        context.output.write("\n".join(run_lines(planned, plan)))
    ready = is_ready(context.output, planned, plan=plan, dry_run=options.dry_run)
    if options.dry_run or not ready:
        return 0 if options.dry_run else 2
    if options.prepare:
        return prepare_run(context.output, planned)
    context.output.flush()
    if plan.joins:
        return _join(context, planned, plan)
    return start_run(context.output, planned, detach=options.detach)


def _join(context: Context, planned: PlannedRun, plan: LocalPlan) -> int:
    """Take part in the run that another node has begun; it has to be the same run."""
    from forge.api.run import PastRun
    from forge.launch.joining import find_run, run_joined

    if context.options.detach or plan.meeting is None:
        raise UsageError("a node that joins a run stays with it", hint="start it with nohup, or host the run here")
    folder = find_run(plan.meeting, planned.output)
    differs = PastRun(folder).diff(planned.config)
    if differs:
        raise UsageError(
            f"this node would train something else than {plan.meeting.endpoint.host}:\n{differs}",
            hint="start the same line from the same files; paths that differ are written relative to the current folder",
        )
    config = context.config
    overrides = [change if isinstance(change, str) else change[1] for change in config.overrides]
    launch = plan.launch(folder)
    return run_joined(launch, config=config.name, project=config.project.name, overrides=overrides, run_folder=folder)


VERB = Verb(
    name="train",
    summary="train what a config describes",
    help="""\
Check the config, freeze it into a new run folder, OUTPUT_DIR/runs/TIME-CONFIG, and train there. Ctrl-C, SIGTERM, a closed terminal,
SIGUSR1 or a file named STOP in the run folder ends the run after the current step and saves it; a second Ctrl-C ends it at
once. With --detach the run goes on in the background, also when the terminal is closed; what it prints is in the run folder's
logs/console.log. `forge jobs` lists the runs, `forge logs`, `attach`, `save`, `stop` and `abort` look after them.

Several processes are started by torchrun: as many as GPUs are named, as --nproc says, or as the config says in launch.nproc_per_node.
Flags of torchrun follow after --. The first process prints here, the others into logs/rank-N.log of the run folder. Several machines need
a run folder that all of them see: --hosts reaches them by ssh, launch=slurm and launch=k8s_job (_pytorchjob, _trainjob) hand the run to a
cluster, and with --nnodes and --rdzv-endpoint each machine is told by hand; --dry-run shows what that comes to.

--sweep makes a run for each combination of the overrides that name several values, one after another or --sweep-jobs N at once, each in
a folder of its own below OUTPUT_DIR/sweeps, and ends in a table and sweep.json. The same line again goes on with what is not finished.
With launch=slurm the runs are one array of jobs, and the line returns when it is submitted.

Exit code 0: every step was taken. 3: stopped on request, saved, to be continued with
--resume-from-checkpoint auto. 2: nothing was started, the config or the command line is wrong. 1: failed. 130: ended by a second Ctrl-C. With
--detach and on a cluster 0 says that it was started.

  forge -p projects/pydoc -t pretrain/tiny train
  forge -t chat/lora train -M MODEL_FOLDER --max-steps 10 --save-strategy no
  forge -t chat/lora train --resume-from-checkpoint auto
  forge -t chat/full train --detach
  forge -t chat/full train -d 0,1,3 --dry-run
  forge -t pretrain/tiny train --sweep lr=1e-3,3e-3 optimizer=adamw,muon --max-steps 20
  forge -t chat/full train -- --nnodes 2 --nproc-per-node 4 --rdzv-endpoint HOST:29400
  forge -t chat/full train launch=slurm launch.nodes=4 --show-logs
""",
    run=_run,
    options=(
        Option(("--dry-run",), "print what would run, and start nothing"),
        Option(
            ("--prepare",),
            "make the run folder, as FOLDER, and start nothing: what --dry-run prints begins with it",
            "FOLDER",
        ),
        Option(("--detach",), "run in the background, and return at once"),
        Option(
            ("-d", "--devices"), "cpu, or the numbers of GPUs: 0,1,3; without it the GPUs there are, if any", "NUMBERS"
        ),
        Option(("--hosts",), "run on these machines, reached by ssh, with so many processes each", "a:4,b:2"),
        Option(("--show-logs",), "with launch=slurm: print the job's log until it ends"),
        Option(("--wait",), "with launch=slurm: wait until the job ends, and return its exit code"),
        Option(("--sweep",), "a run for each combination of the overrides that name several values: lr=1e-4,3e-4"),
        Option(("--sweep-jobs",), "with --sweep: so many runs at once", "N", type=int, default=1),
        Option(("--keep-going",), "with --sweep: go on with the others when a run fails"),
        Option(("--nproc",), "start this many processes on this machine, one for each GPU", "N", type=int),
    ),
    positionals=(
        Positional(
            "TORCHRUN", "flags of torchrun, after --; each takes the place of its own default", least=0, most=None
        ),
    ),
    takes_config=True,
)
