"""``forge train --sweep``: from a line with several values to the runs of a sweep and their table."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING, Any, Final

from forge.base.errors import UsageError
from forge.base.origin import shown_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from forge.api.config import ConfigHandle
    from forge.api.run import PlannedRun
    from forge.cli.parse import Given
    from forge.cli.session import Context
    from forge.compose.arguments import Argument
    from forge.compose.sweep import Axis
    from forge.control.known import KnownJob
    from forge.graph.check import Finding
    from forge.launch.local import LocalPlan
    from forge.launch.sweep import Member, Sweep
    from forge.launch.topology import Topology

__all__ = ["run_sweep"]

_SWEEPS: Final = "sweeps"
_STOPPED: Final = 3
_SHOWN_CHANGES: Final = 3


def run_sweep(context: Context) -> int:
    """Carry out, or with --dry-run list, the runs that the line describes; 0 when all of them are finished."""
    from forge.launch.sweep import open_sweep, planned_members, sweep_name

    base, axes = _line(context)
    line = _Line(context, base, axes)
    points = line.points()
    about = {
        "config": base.name,
        "project": base.project.name,
        "overrides": [change if isinstance(change, str) else change[1] for change in base.overrides],
        "axes": {axis.key: list(axis.values) for axis in axes},
    }
    folder = os.path.abspath(os.path.join(base.with_output()[1], _SWEEPS, sweep_name(about)))
    if not _all_sound(context, line, planned_members(folder, points)):
        return 2
    if context.options.dry_run:
        _list(context, line, planned_members(folder, points))
        return 0
    sweep = open_sweep(folder, about, points)
    try:
        _tell_finished(context, line, sweep)
        return _by_slurm(context, line, sweep) if line.topology.kind == "slurm" else _carry_out(context, line, sweep)
    finally:
        sweep.close()


def _line(context: Context) -> tuple[ConfigHandle, list[Axis]]:
    """The config that all runs have in common, and what is varied."""
    from forge.compose.sweep import axes_among

    if context.words:
        raise UsageError(
            f"a sweep passes nothing on to torchrun: {context.words[0]}", hint="--nproc N and -d still hold"
        )
    if context.options.sweep_jobs < 1:
        raise UsageError(f"--sweep-jobs is at least 1, not {context.options.sweep_jobs}")
    overrides = [item for item in context.items if item.kind == "override"]
    found = axes_among([item.text for item in overrides])
    if not found:
        raise UsageError(
            "nothing is varied", hint="name several values: train --sweep optimizer.lr=1e-4,3e-4 optimizer=adamw,muon"
        )
    varied = [overrides[place] for place in found]
    common: list[Given] = [item for item in context.items if not any(item is one for one in varied)]
    return context.config_with(None, common), list(found.values())


class _Line:
    """A line of a sweep: the configs of its runs, and how each is started."""

    def __init__(self, context: Context, base: ConfigHandle, axes: Sequence[Axis]) -> None:
        self.context, self.base, self.axes = context, base, axes
        self.topology = _topology(context, base)
        self._groups = base.project.groups()

    def points(self) -> list[dict[str, str]]:
        """The values of each run by the keys of the axes."""
        from forge.compose.sweep import grid

        keys = [axis.key for axis in self.axes]
        return [dict(zip(keys, values, strict=True)) for values in grid(self.axes)]

    def config(self, member: Member) -> ConfigHandle:
        """The config of one run."""
        from forge.compose.quote import quote_value

        changes = [self._change(key, value) for key, value in member.values.items()]
        # The choice of a group comes first: it would take back what was set in it.
        changes.sort(key=lambda change: _key_of(change) not in self._groups)
        output = f"++{self.base.main}.output_dir={quote_value(member.output)}"
        return self.base.override(*changes, output)

    def planned(self, member: Member, place: int = 0, checkpoint: str | None = None) -> PlannedRun:
        """What starts one run in one of the places that run at once, from nothing or from a checkpoint."""
        from forge.compose.quote import quote_value

        config = self.config(member)
        if checkpoint is not None:
            config = config.override(f"++{config.main}.resume_from_checkpoint={quote_value(checkpoint)}")
        planned = config.plan_run()
        if self.topology.kind == "slurm":
            return planned
        return planned._replace(launch=self._plan(place).launch(planned.folder))

    def checkpoint(self, member: Member) -> str | None:
        """From where a run goes on: from its newest checkpoint, also one that, begun again by Slurm, there will be; None from nothing."""
        again = self.topology.kind == "slurm" and (self.topology.requeue or self.topology.max_restarts > 0)
        return "auto" if again or _has_checkpoints(member) else _kept(member)

    def findings(self, member: Member) -> list[Finding]:
        """What this machine lacks for a run."""
        from forge.launch.preflight import preflight, shared_preflight

        config = self.planned(member, checkpoint=self.checkpoint(member)).config
        root, main = config.graph.root, str(config.main)
        if self.topology.kind == "slurm":
            return shared_preflight(root, main, member.output)
        return preflight(root, main, self._plan(0), member.output, config.project.source_folders)

    def _plan(self, place: int) -> LocalPlan:
        from forge.launch.local import plan_local

        options = self.context.options
        devices = _share(options.devices, place, options.sweep_jobs)
        return plan_local(devices, options.nproc, (), self.topology, os.environ)

    def _change(self, key: str, value: str) -> str | tuple[str, str]:
        """An override, or what a flag of the config with this name stands for."""
        from forge.compose.arguments import flag_override

        named = self._argument(key)
        if named is None:
            return f"{key}={value}"
        return flag_override(named, f"--{named.name.replace('_', '-')}", value, self._groups)

    def _argument(self, key: str) -> Argument | None:
        """The flag that a word without dots means: by its name, or by the last step of what it sets."""
        if not key.isidentifier() or key in self._groups or key in self.base.composed.tree:
            return None
        arguments = self.base.arguments
        own = [one for one in arguments if one.name == key]
        return next(iter(own or [one for one in arguments if one.key.rpartition(".")[2] == key]), None)


def _key_of(change: str | tuple[str, str]) -> str:
    return (change if isinstance(change, str) else change[0]).lstrip("+").partition("=")[0]


def _topology(context: Context, config: ConfigHandle) -> Topology:
    """Where the runs happen: on this machine, or as an array of jobs of Slurm."""
    from forge.cli.handing_over import built_topology

    topology = built_topology(config)
    options = context.options
    if topology.kind not in {"local", "slurm"}:
        raise UsageError(
            f"a sweep runs on this machine or by Slurm, and launch is {topology.kind}", hint="leave out launch=..."
        )
    idle = {"-d": options.devices, "--nproc": options.nproc, "--keep-going": options.keep_going}
    if topology.kind == "slurm" and (given := [name for name, there in idle.items() if there]):
        raise UsageError(f"{given[0]} means nothing to a sweep with launch=slurm, whose jobs all run by themselves")
    return topology


def _share(devices: str | None, place: int, most: int) -> str | None:
    """The GPUs of one of the places that run at once."""
    if devices is None or devices == "cpu" or most == 1:
        return devices
    numbers = devices.split(",")
    if len(numbers) % most:
        raise UsageError(
            f"{len(numbers)} GPUs cannot be shared out to {most} runs at once",
            hint="name a multiple with -d, or run fewer",
        )
    size = len(numbers) // most
    return ",".join(numbers[place * size : (place + 1) * size])


def _all_sound(context: Context, line: _Line, members: Sequence[Member]) -> bool:
    """Whether every run can begin, and the first one on this machine; what is wrong is printed once, with the first run that has it."""
    seen: set[str] = set()
    for member in members:
        line.planned(member)
        found = [finding for finding in line.config(member).check() if finding.severity == "error"]
        if member is members[0] and not found and not context.options.dry_run:
            found = [finding for finding in line.findings(member) if finding.severity == "error"]
        for text in map(str, found):
            if text not in seen:
                context.output.note(f"{member.name}: {text}")
                seen.add(text)
    if seen:
        context.output.note(f"nothing was started, correct the {len(seen)} above first")
    return not seen


def _list(context: Context, line: _Line, members: Sequence[Member]) -> None:
    from forge.cli.pasted import as_comment, job_lines, preparing

    folder = os.path.dirname(members[0].output)
    planned = [line.planned(member, checkpoint=line.checkpoint(member)) for member in members]
    shown = [as_comment(f"{len(members)} runs in {shown_path(folder)}")]
    shown += [as_comment(f"  {member.name}") for member in members]
    shown += preparing(planned[0])[1:2]
    for one in planned:
        shown += [preparing(one)[-1], *([] if line.topology.kind == "slurm" else [str(one.launch)])]
    if line.topology.kind == "slurm":
        from forge.launch.sweep_array import array_logs, array_script

        folders = [os.path.abspath(one.folder) for one in planned]
        script = array_script(line.topology, folder, folders, context.options.sweep_jobs)
        shown += [shlex.join(["mkdir", "-p", array_logs(line.topology, folder)]), *job_lines(script)]
    context.output.write("\n".join(shown))


def _tell_finished(context: Context, line: _Line, sweep: Sweep) -> None:
    done = [member for member in sweep.members if member.done]
    for member in done:
        _refuse_other_config(line, member)
    if done:
        context.output.note(f"{len(done)} of {len(sweep.members)} runs are finished already")
    context.output.note(f"sweep of {len(sweep.members)} runs in {shown_path(sweep.folder)}")


def _carry_out(context: Context, line: _Line, sweep: Sweep) -> int:
    """One after another, or some at once, on this machine."""
    from forge.launch.sweep import carry_on

    options = context.options

    def begin(member: Member, place: int) -> str:
        planned = line.planned(member, place, checkpoint=line.checkpoint(member))
        return os.path.abspath(planned.start_detached().folder)

    finished = carry_on(
        sweep, begin, _measured, most=options.sweep_jobs, keep_going=options.keep_going, say=context.output.note
    )
    context.output.write(_table(sweep))
    if finished:
        return 0
    failed = any(member.state not in {"finished", "stopped", "waiting"} for member in sweep.members)
    return 1 if failed else _STOPPED


def _by_slurm(context: Context, line: _Line, sweep: Sweep) -> int:
    """As an array of jobs: what is neither finished nor in the queue is handed over, and nothing is waited for."""
    from forge.launch.sweep_array import look_again, submit_rest

    look_again(sweep, _measured)
    number = submit_rest(
        sweep,
        line.topology,
        lambda member: _prepared(line.planned(member, checkpoint=line.checkpoint(member))),
        context.options.sweep_jobs,
    )
    if number:
        context.output.note(f"job {number} submitted; the same line again tells what has become of it")
    context.output.write(_table(sweep))
    return 0


def _prepared(planned: PlannedRun) -> str:
    """Write the run folder of a run that Slurm starts."""
    from forge.launch.local import LocalLaunch

    folder = os.path.abspath(planned.folder)
    planned._replace(folder=folder, launch=LocalLaunch(("sbatch", "job.sbatch"))).prepare()
    return folder


def _has_checkpoints(member: Member) -> bool:
    saved = os.path.join(member.output, "checkpoints")
    return os.path.isdir(saved) and any(name.startswith("checkpoint-") for name in os.listdir(saved))


def _kept(member: Member) -> str | None:
    """The checkpoint that the newest of a member's runs has kept in its own folder, where it saves nothing by itself."""
    from forge.cli.checkpoints import kept_checkpoint

    runs = os.path.join(member.output, "runs")
    names = sorted(os.listdir(runs), reverse=True) if os.path.isdir(runs) else []
    return next(filter(None, (kept_checkpoint(os.path.join(runs, name)) for name in names)), None)


def _refuse_other_config(line: _Line, member: Member) -> None:
    """A run that is finished counts only for the config it was made from."""
    from forge.api.run import PastRun

    if not os.path.isdir(member.run):
        return
    changes = PastRun(member.run).diff(line.config(member)).text().splitlines()
    changes = [change for change in changes if "resume_from_checkpoint" not in change]
    if changes:
        raise UsageError(
            f"{member.name} is finished, with another config: {'; '.join(changes[:_SHOWN_CHANGES])}",
            hint=f"remove {shown_path(os.path.dirname(member.output))} to begin anew, or write elsewhere with --output-dir",
        )


def _measured(job: KnownJob) -> dict[str, Any]:
    from forge.control.progress import progress_of
    from forge.report.compare import run_summary

    found, progress = run_summary(job).measured, progress_of(job.record.run)
    loss = progress.loss if progress.loss is not None else found.loss
    held_out = found.eval_loss
    evaluated = sum(held_out.values()) / len(held_out) if held_out else None
    return {
        "loss": loss,
        "eval_loss": evaluated,
        "eval_losses": held_out,
        "step": progress.step,
        "total": progress.total,
        "seconds": job.seconds,
    }


def _table(sweep: Sweep) -> str:
    from forge.control.known import spoken_time

    rows = [[*sweep.about["axes"], "state", "loss", "eval loss", "steps", "time"]]
    for member in sweep.members:
        found = member.figures
        numbers = ["" if found.get(name) is None else f"{found[name]:.4f}" for name in ("loss", "eval_loss")]
        steps = "" if found.get("step") is None else f"{found['step']}/{found['total']}"
        spent = "" if found.get("seconds") is None else spoken_time(found["seconds"])
        rows.append([*member.values.values(), member.state, *numbers, steps, spent])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
