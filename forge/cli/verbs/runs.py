"""``forge runs``: the runs in a folder: list, compare, report, resume, relaunch."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

from forge.base.errors import UsageError
from forge.base.origin import shown_path
from forge.cli.columns import in_columns
from forge.cli.options import JSON, OUTPUT, Option, Positional
from forge.cli.registry import Verb

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from forge.cli.session import Context
    from forge.control.known import KnownJob

__all__ = ["VERB"]

_ALL_RUNS: Final = "output"
_HEAD: Final = ("run", "config", "state", "step", "loss", "eval", "started", "time", "folder")
_FLAGS: Final = {
    "json": ("list", "compare"),
    "dry_run": ("resume", "relaunch"),
    "detach": ("resume", "relaunch"),
    "output": ("report",),
}


def _run(context: Context) -> int:
    word, *rest = context.words or ["list"]
    for name, words in _FLAGS.items():
        if getattr(context.options, name) and word not in words:
            flag = name.replace("_", "-")
            raise UsageError(f"runs {word} has no flag --{flag}", hint=f"it belongs to {' and '.join(words)}")
    actions: dict[str, Callable[[Context, list[str]], int]] = {
        "list": _list,
        "compare": _compare,
        "report": _report,
        "resume": _again,
        "relaunch": _again,
    }
    return actions[word](context, rest)


def _list(context: Context, folders: list[str]) -> int:
    from forge.report.compare import run_summary
    from forge.report.folders import runs_below

    for folder in folders:
        if not os.path.isdir(folder):
            raise UsageError(
                f"there is no folder {folder!r}", hint="list takes folders with runs; without one it looks in ./output"
            )
    places = folders or _places(context)
    runs = [run_summary(job) for job in runs_below(places)]
    if context.options.json:
        context.emit_json([run.data() for run in runs], "runs")
    elif runs:
        context.output.write(in_columns([_HEAD, *(_row(run) for run in runs)]))
    else:
        context.output.note(f"no runs below {' '.join(map(shown_path, places))}: `forge train` makes one")
    return 0


def _row(run: Any) -> Sequence[str]:
    from forge.control.known import shown_loss, spoken_time
    from forge.control.progress import progress_of

    job, measured = run.job, run.measured
    progress = progress_of(job.record.run)
    loss = progress.loss if progress.loss is not None else measured.loss
    return (
        run.name,
        job.config,
        job.how,
        progress.steps,
        shown_loss(loss),
        " ".join(map(shown_loss, measured.eval_loss.values())),
        job.record.started[:16].replace("T", " "),
        "" if job.seconds is None else spoken_time(job.seconds),
        shown_path(job.record.run),
    )


def _compare(context: Context, names: list[str]) -> int:
    from forge.report.compare import changes_between, run_summary, summary_rows

    if len(names) < 2:  # noqa: PLR2004 - one run is compared with another
        raise UsageError("runs compare needs at least two runs", hint="`forge runs` lists them")
    runs = [run_summary(_named(context, name)) for name in names]
    first, *others = runs
    changes = [changes_between(first.job, other.job) for other in others]
    if context.options.json:
        from forge.render.forms import change_data

        differences = [[change_data(change) for change in found] for found in changes]
        context.emit_json({"runs": [run.data() for run in runs], "differences": differences}, "compare")
        return 0
    from forge.render.difference import text

    lines = [in_columns(summary_rows(runs))]
    for other, found in zip(others, changes, strict=True):
        title = f"config of {other.name}, compared with {first.name}:"
        lines += ["", title, text(found, color=context.output.colour) if found else "the same"]
    context.output.write("\n".join(lines))
    return 0


def _report(context: Context, names: list[str]) -> int:
    from forge.cli.checkpoints import listed_checkpoints
    from forge.report.folders import output_of
    from forge.report.page import report_page

    if len(names) != 1:
        raise UsageError("runs report takes one run", hint="forge runs report RUN -o report.html")
    job = _named(context, names[0])
    checkpoints = [one for one in listed_checkpoints(output_of(job.record.run)) if _is_of(one, job.record.run)]
    page = report_page(job, checkpoints)
    if context.options.output is None:
        context.options.output = os.path.join(job.record.run, "report.html")
    context.emit(page, "report", ".html")
    context.output.note(f"wrote {shown_path(context.options.output)}")
    return 0


def _is_of(checkpoint: dict[str, Any], run_folder: str) -> bool:
    """Whether a checkpoint of an output folder is of this run, or does not say of which it is."""
    own = dict(checkpoint.get("facts") or {}).get("run")
    return own is None or os.path.basename(str(own)) == os.path.basename(run_folder)


def _again(context: Context, words: list[str]) -> int:
    """Start what a run was started as, from its newest checkpoint or from nothing."""
    from forge.cli.checkpoints import kept_checkpoint
    from forge.cli.frozen_config import is_sound
    from forge.cli.handing_over import HandingOver, hand_over, is_ready
    from forge.cli.pasted import preparing
    from forge.cli.rerun import ended_job, frozen_run, rerun

    action = context.words[0]
    if not words:
        raise UsageError(f"runs {action} needs a run", hint="`forge runs` lists them")
    job = ended_job(words[0], lambda: _named(context, words[0]))
    checkpoint = kept_checkpoint(job.record.run) or "auto"
    with frozen_run(job) as folder:
        again = rerun(
            job,
            words[1:],
            resumes=action == "resume",
            checkpoint=checkpoint,
            folder=folder,
            project=context.session.project,
        )
    for line in again.notes:
        context.output.note(line)
    if not is_sound(context.output, again.planned.config):
        return 2
    local = again.topology.kind == "local"
    if context.options.dry_run or not local:
        context.output.note(again.line)
    if not local:
        how = HandingOver(dry_run=context.options.dry_run, detach=context.options.detach)
        return hand_over(context.output, again.planned, again.topology, how, job)
    if context.options.dry_run:
        context.output.write("\n".join([*preparing(again.planned), str(again.planned.launch)]))
    ready = is_ready(context.output, again.planned, plan=again.plan, dry_run=context.options.dry_run)
    if context.options.dry_run or not ready:
        return 0 if context.options.dry_run else 2
    context.output.flush()
    if not context.options.detach:
        return again.planned.start()
    started = again.planned.start_detached()
    context.output.write(f"{started.id} started: run folder {shown_path(started.folder)}")
    return 0


def _named(context: Context, name: str) -> KnownJob:
    from forge.report.folders import named_run

    return named_run(name, _places(context))


def _places(context: Context) -> list[str]:
    """Where runs are looked for: what is asked for, what the chosen config writes to, or all of ./output."""
    asked: str | None = context.options.output_dir
    if asked is not None:
        return [asked]
    if context.session.config is not None:
        return [context.config.with_output()[1]]
    return [_ALL_RUNS]


VERB = Verb(
    name="runs",
    summary="list, compare, report, resume and relaunch runs",
    help="""\
Work on the runs below a folder: --output-dir, or what the config given with -t writes to, or all of ./output. RUN is a run folder, its
name, the id of its job, or an output folder, whose newest run is meant.

list (or nothing) shows one line for each run: how it is or ended, its step, loss, evaluation, start and duration. compare sets runs side
by side: their figures, and what the config of each has that the first one's has not. report writes one HTML page that needs nothing
else: curves, events, checkpoints, samples, the config as a graph, and what it ran on; by default into the run folder. resume starts the
run's config again from its newest checkpoint, relaunch starts it from nothing, on the same devices in as many processes, or where it was
handed to: the same hosts, the same nodes of Slurm, unless an override of launch says otherwise; overrides may follow, such as trainer.output_dir=NEW; --dry-run prints the line, and what would run, and starts nothing.

  forge runs
  forge runs list output/pydoc --json
  forge runs compare tiny-1 tiny-2
  forge runs report output/pydoc/pretrain/tiny -o report.html
  forge runs resume tiny-1 --dry-run
  forge runs relaunch tiny-1 trainer.output_dir=output/again optimizer.lr=1e-3
""",
    run=_run,
    options=(
        JSON,
        OUTPUT,
        Option(("--output-dir",), "look for runs below this folder", "FOLDER", completes="file"),
        Option(("--dry-run",), "resume, relaunch: print the line and what would run, and start nothing"),
        Option(("--detach",), "resume, relaunch: run in the background"),
    ),
    positionals=(
        Positional(
            "ACTION",
            "what to do; by default list",
            least=0,
            choices=("list", "compare", "report", "resume", "relaunch"),
        ),
        Positional(
            "RUN",
            "a run; list: folders with runs; resume, relaunch: and overrides",
            least=0,
            most=None,
            completes="job",
        ),
    ),
)
