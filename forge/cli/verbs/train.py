"""``forge train``: check a config, freeze it into a run folder, and run it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forge.base.errors import UsageError
from forge.base.origin import shown_path
from forge.cli.options import Option, Positional
from forge.cli.registry import Verb

if TYPE_CHECKING:
    from forge.api import ConfigHandle, PlannedRun
    from forge.cli.session import Context
    from forge.launch.local import LocalPlan
    from forge.launch.supervise import Detached
    from forge.launch.topology import Topology

__all__ = ["VERB"]

_LARGEST = 1 << 20  # what a cluster takes as one config


def _run(context: Context) -> int:
    if context.options.sweep:
        from forge.cli.sweep import run_sweep

        return run_sweep(context)
    if context.options.keep_going or context.options.sweep_jobs != 1:
        flag = "--keep-going" if context.options.keep_going else "--sweep-jobs"
        raise UsageError(f"{flag} is for a sweep", hint="name what is varied: train --sweep lr=1e-4,3e-4")
    planned = context.config.plan_run()
    if not _is_sound(context, context.config):
        return 2
    topology = _topology(context)
    _refuse_idle_flags(context, topology)
    planned = _begun_again(planned, topology)
    if topology.kind == "local":
        return _here(context, planned, topology)
    if topology.kind == "ssh":
        return _on_hosts(context, planned, topology)
    if topology.kind == "slurm":
        return _by_slurm(context, planned, topology)
    return _on_kubernetes(context, planned, topology)


def _topology(context: Context) -> Topology:
    """Where the run happens: what the config's launch says, changed by --hosts."""
    from dataclasses import replace

    from forge.launch.topology import Topology  # `forge --help` starts nothing

    config = context.config
    topology = config.build("launch") if "launch" in config.composed.tree else Topology()
    if not isinstance(topology, Topology):
        raise UsageError("launch is no topology", hint="choose one: launch=local, ssh, slurm, k8s_pytorchjob ...")
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


def _begun_again(planned: PlannedRun, topology: Topology) -> PlannedRun:
    """The run, told to go on from its own checkpoints where it may be started several times."""
    from forge.launch.prepare import begins_again

    config = planned.config
    trainer = config.data(resolve=True, path=config.main)
    if not isinstance(trainer, dict) or not begins_again(topology, trainer, planned.output):
        return planned
    return planned._replace(config=config.override(f"++{config.main}.resume_from_checkpoint=auto"))


def _here(context: Context, planned: PlannedRun, topology: Topology) -> int:
    """On this machine, alone or as one of several nodes."""
    import os
    from dataclasses import replace

    from forge.launch.local import plan_local

    options = context.options
    plan = plan_local(options.devices, options.nproc, context.words, topology, os.environ)
    restarts = (plan.flags or {}).get("max-restarts", "0")
    if restarts.isdecimal() and int(restarts) and not topology.max_restarts:  # it stands after --
        planned = _begun_again(planned, replace(topology, max_restarts=int(restarts)))
    planned = planned._replace(launch=plan.launch(planned.folder))
    if options.dry_run:
        context.output.write(_plan(planned))
        return 0
    if not _is_ready(context, planned, plan):
        return 2
    context.output.flush()
    if plan.joins:
        return _join(context, planned, plan)
    return _start(context, planned)


def _start(context: Context, planned: PlannedRun) -> int:
    if not context.options.detach:
        return planned.start()
    context.output.write(_started(planned.start_detached()))
    return 0


def _on_hosts(context: Context, planned: PlannedRun, topology: Topology) -> int:
    """On machines that are reached by ssh."""
    import os
    import shlex

    from forge.launch.hosts import host_commands, write_hosts
    from forge.launch.local import LocalLaunch
    from forge.launch.process import module_command

    folder = os.path.abspath(planned.folder)
    commands = host_commands(topology, folder, os.getcwd())
    if context.options.dry_run:
        context.output.write("\n".join(shlex.join(command) for command in commands))
        return 0
    if not _is_ready(context, planned):
        return 2
    write_hosts(folder, commands)
    launch = LocalLaunch(tuple(module_command("forge.launch.hosts", [folder])))
    context.output.flush()
    return _start(context, planned._replace(launch=launch))


def _by_slurm(context: Context, planned: PlannedRun, topology: Topology) -> int:
    """As a job of Slurm."""
    import os

    from forge.base.files import make_folder, write_atomic
    from forge.launch.slurm import job_log, sbatch_script
    from forge.launch.slurm_jobs import follow_job, submit

    folder = os.path.abspath(planned.folder)
    script, path = sbatch_script(topology, folder), os.path.join(folder, "job.sbatch")
    if context.options.dry_run:
        context.output.write(script)
        return 0
    if not _is_ready(context, planned):
        return 2
    _prepare(planned, ("sbatch", path))
    write_atomic(path, script)
    make_folder(os.path.dirname(job_log(topology, folder)))
    job = submit(path, folder=os.getcwd())
    log = job_log(topology, folder, job)
    context.output.write(
        f"job {job} submitted, run folder {shown_path(planned.folder)}\n"
        f"  log {shown_path(log)}; squeue -j {job}, scancel --full {job}: to see and to end it; "
        "a file named STOP in the run folder stops it"
    )
    if not (context.options.show_logs or context.options.wait):
        return 0
    write = context.output.write if context.options.show_logs else _nowhere
    state = follow_job(job, log, write)
    context.output.note(f"job {job}: {state.state or 'forgotten by Slurm'}")
    return 1 if state.code is None else state.code


def _nowhere(_text: str) -> None:
    """Where a log goes that nobody wants to see."""


def _on_kubernetes(context: Context, planned: PlannedRun, topology: Topology) -> int:
    """On Kubernetes: the manifests are applied, or written for kubectl where the client is not installed."""
    import os

    from forge.base.files import make_folder, write_atomic
    from forge.launch.k8s import as_yaml, manifests
    from forge.launch.k8s_client import apply, client_missing
    from forge.launch.prepare import on_a_volume

    on_a_volume(topology, planned.output)
    documents = manifests(topology, planned.folder, _frozen(planned.config))
    if context.options.dry_run:
        context.output.write(as_yaml(documents))
        return 0
    if missing := client_missing():
        path = os.path.join("output", f"{topology.job_name}.yaml")
        make_folder("output")
        write_atomic(path, as_yaml(documents))
        raise UsageError(missing, hint=f"the manifests are in {path}: kubectl apply -f {path}")
    for line in apply(documents):
        context.output.write(line)
    return 0


def _frozen(config: ConfigHandle) -> dict[str, str]:
    """The files of a frozen config, for a run folder that is somewhere else."""
    import os

    from forge.base.files import read_bounded, remove_tree, write_temporary

    folder = os.path.dirname(write_temporary("config.yaml", config.show(resolve=True)))
    try:
        config.freeze(folder)
        names = sorted(os.listdir(folder))
        return {name: read_bounded(os.path.join(folder, name), _LARGEST).decode() for name in names}
    finally:
        remove_tree(folder)


def _prepare(planned: PlannedRun, command: tuple[str, ...]) -> None:
    """Write the run folder, for a run that another program starts."""
    from forge.launch.local import LocalLaunch
    from forge.launch.run_folder import describe_run

    config = planned.config
    config.freeze(planned.folder)
    launch, text = LocalLaunch(command), config.show(resolve=True)
    describe_run(planned.folder, config=text, launch=launch, project_folder=config.project.folder)


def _join(context: Context, planned: PlannedRun, plan: LocalPlan) -> int:
    """Take part in the run that another node has begun; it has to be the same run."""
    from forge.api import PastRun
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


def _started(job: Detached) -> str:
    where = f"process {job.pid}, run folder {shown_path(job.folder)}"
    if not job.id:
        return f"started: {where}; a file named STOP in that folder stops it"
    return f"{job.id} started: {where}\n  logs {job.id} -f, attach {job.id}, stop {job.id}: to see and to end it"


def _is_sound(context: Context, config: ConfigHandle) -> bool:
    """Whether a run of the config can begin; what is wrong with it is printed."""
    findings = [finding for finding in config.check() if finding.severity == "error"]
    for finding in findings:
        context.output.note(str(finding))
    if findings:
        context.output.note(f"{config.name}: nothing was started, correct the {len(findings)} above first")
    return not findings


def _is_ready(context: Context, planned: PlannedRun, plan: LocalPlan | None = None) -> bool:
    """Whether there is what a run needs, on this machine or, without a plan for it, on the disk that all share; what is not is printed."""
    from forge.launch.preflight import preflight, shared_preflight

    root, main, output = planned.config.graph.root, str(planned.config.main), planned.output
    findings = preflight(root, main, plan, output) if plan else shared_preflight(root, main, output)
    for finding in findings:
        context.output.note(f"{finding.severity}: {finding}")
    errors = sum(finding.severity == "error" for finding in findings)
    if errors:
        context.output.note(f"{planned.config.name}: nothing was started, there is not what it needs")
    return not errors


def _plan(planned: PlannedRun) -> str:
    return "\n".join(
        [
            f"config       {planned.config.name} of {planned.config.project.name}",
            f"output       {planned.output}",
            f"run folder   {planned.folder}",
            f"command      {planned.launch}",
        ]
    )


VERB = Verb(
    name="train",
    summary="train what a config describes",
    help="""\
Check the config, freeze it into a new run folder, OUTPUT_DIR/runs/TIME-CONFIG, and train there. Ctrl-C, SIGTERM,
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

Exit code 0: every step was taken. 3: stopped on request, saved, to be continued with --resume-from-
checkpoint auto. 2: nothing was started, the config or the command line is wrong. 1: failed. 130: ended by a second Ctrl-C. With
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
