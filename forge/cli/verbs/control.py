"""``forge control``: every word about jobs in one verb; the short verbs are the same functions."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from forge.base.errors import UsageError
from forge.cli.cluster_control import on_cluster
from forge.cli.options import JSON, Option, Positional, was_given
from forge.cli.parse import Parsed
from forge.cli.registry import Verb

if TYPE_CHECKING:
    from collections.abc import Callable

    from forge.cli.session import Context
    from forge.control.known import KnownJob
    from forge.report.figures import LoggedFigures

__all__ = ["VERB"]

# The words that are verbs of their own, and the name of each.
_SHORT: Final = {
    "list": "jobs",
    "logs": "logs",
    "save": "save",
    "stop": "stop",
    "abort": "abort",
    "attach": "attach",
    "cleanup": "cleanup",
}
_FLAGS: Final = {
    "all": ("list",),
    "json": ("list", "status", "set"),
    "follow": ("logs",),
    "lines": ("logs",),
    "no_wait": ("stop",),
    "once": ("watch",),
    "interval": ("watch",),
}
_DRAWN: Final = ("watch", "attach")  # what is shown on a terminal in another way than in a pipe
_HEIGHT: Final = 30
_WIDTH: Final = 100
_LEAST_INTERVAL: Final = 0.1


def _run(context: Context) -> int:
    word, *rest = context.words
    _refuse_idle_flags(context, word)
    if context.options.host is not None:
        return _there(context)
    if (code := on_cluster(context, word, rest, _line(context)[len(context.items) :])) is not None:
        return code
    if word in _SHORT:
        return _as_verb(context, _SHORT[word])
    own: dict[str, Callable[[Context, list[str]], int]] = {
        "status": _status,
        "watch": _watch,
        "save-stop": _save_and_stop,
        "set": _set,
    }
    return own[word](context, rest)


def _there(context: Context) -> int:
    """Run the same line on another machine."""
    import os

    from forge.launch.over_ssh import run_there

    context.output.flush()
    terminal = context.output.stream.isatty() and context.words[0] in _DRAWN
    return run_there(context.options.host, ["control", *_line(context)], os.getcwd(), terminal=terminal)


def _line(context: Context) -> list[str]:
    """The line as it was given, without --host."""
    flags: list[str] = []
    for option in VERB.options:
        given = getattr(context.options, option.name)
        if option.name != "host" and was_given(given):
            flags += [max(option.names, key=len), *([str(given)] if option.value else [])]
    return [*(item.text for item in context.items), *flags]


def _refuse_idle_flags(context: Context, word: str) -> None:
    for option in VERB.options:
        given = was_given(getattr(context.options, option.name))
        if given and word not in _FLAGS.get(option.name, (word,)):
            words = " and ".join(_FLAGS[option.name])
            raise UsageError(f"control {word} has no flag {max(option.names, key=len)}", hint=f"it belongs to {words}")


def _as_verb(context: Context, name: str) -> int:
    """Run the verb of this name with the words that follow."""
    from forge.cli.session import Context as Line  # what this line is made of

    verb = context.session.verbs.find(name)
    options = {option.name: getattr(context.options, option.name, False) for option in verb.options}
    items = context.items[1:]
    least, most = 0, sum(one.most or 0 for one in verb.positionals)
    if all(one.most is not None for one in verb.positionals) and not least <= len(items) <= most:
        raise UsageError(f"control {context.words[0]} does not know what to do with {items[most].text!r}")
    return verb.run(Line(context.session, verb, Parsed(options, items)))


def _job(words: list[str], *, running: bool = False) -> KnownJob:
    from forge.control.known import find_job  # `forge --help` asks for no job

    if len(words) > 1:
        raise UsageError(f"one job at a time: {words[1]!r} is one too many")
    return find_job(*words, running=running)


def _status(context: Context, words: list[str]) -> int:
    from forge.report.status import status_data, status_lines

    job = _job(words)
    if context.options.json:
        context.emit_json(status_data(job), "status")
    else:
        context.output.write("\n".join(status_lines(job)))
    return 0


def _save_and_stop(context: Context, words: list[str]) -> int:
    from forge.base.origin import shown_path
    from forge.control.jobs import save_now, stop, tell, wait_for_end

    job = _job(words, running=True)
    try:
        answer = save_now(job)
        context.output.write(f"{job.id} saved step {answer.step}: {shown_path(answer.path)}")
        context.output.flush()
        stop(job)
        ended = wait_for_end(job)
    except KeyboardInterrupt:
        context.output.note(f"{job.id} goes on with what it was asked for: `forge jobs` shows what came of it")
        return 0
    context.output.write(tell(ended))
    return 0 if ended.state in {"stopped", "finished"} else 1


def _set(context: Context, words: list[str]) -> int:
    from forge.control.jobs import set_now
    from forge.control.settings import CHANGEABLE, read_settings

    changes = [word for word in words if "=" in word]
    if not changes:
        raise UsageError("control set needs something to set", hint=f"{' or '.join(f'{name}=' for name in CHANGEABLE)}")
    values = read_settings(changes)
    job = _job([word for word in words if "=" not in word], running=True)
    try:
        answer = set_now(job, values)
    except KeyboardInterrupt:
        context.output.note(f"{job.id} will do so after its step all the same")
        return 0
    if context.options.json:
        context.emit_json(answer._asdict(), "set")
        return 0
    text = ", ".join(f"{name} {before:g} -> {after:g}" for name, (before, after) in _known(answer.changed))
    context.output.write(f"{job.id} goes by it from step {answer.step + 1} on: {text}")
    return 0


def _known(changed: dict[str, tuple[float | None, float]]) -> list[tuple[str, tuple[float, float]]]:
    return [(name, (float("nan") if before is None else before, after)) for name, (before, after) in changed.items()]


def _watch(context: Context, words: list[str]) -> int:
    from forge.report.figures import LoggedFigures
    from forge.report.watch import view

    interval: float = 1.0 if context.options.interval is None else context.options.interval
    if interval < _LEAST_INTERVAL:
        raise UsageError(f"--interval is at least {_LEAST_INTERVAL} seconds, not {interval:g}")
    job = _job(words)
    figures = LoggedFigures(job.record.run)
    terminal = context.output.stream.isatty()
    if context.options.once or (not terminal and job.over):
        context.output.write("\n".join(view(job, figures, width=_size()[0], height=_HEIGHT, dots=_has_dots(context))))
        return 0
    try:
        (_live if terminal else _plainly)(context, job, figures, interval)
    except KeyboardInterrupt:
        context.output.note(f"{job.id} goes on")
    return 0


def _plainly(context: Context, job: KnownJob, figures: LoggedFigures, interval: float) -> None:
    """One line whenever something has happened, until the job has ended."""
    from forge.control.known import as_now
    from forge.report.watch import short_line

    before = ""
    while True:
        figures.update()
        line = short_line(job, figures)
        if line != before:
            context.output.write(line)
            context.output.flush()
        if job.over:
            return
        before = line
        time.sleep(interval)
        job = as_now(job)


def _live(context: Context, job: KnownJob, figures: LoggedFigures, interval: float) -> None:
    """The view, drawn anew in its place until the job has ended."""
    from rich.console import Console  # only on a terminal
    from rich.live import Live
    from rich.text import Text

    from forge.control.known import as_now
    from forge.report.watch import view

    console = Console(file=context.output.stream, highlight=False, markup=False, emoji=False)

    def drawn() -> Text:
        size = console.size
        return Text("\n".join(view(job, figures, width=size.width, height=size.height - 1, dots=_has_dots(context))))

    with Live(drawn(), console=console, auto_refresh=False, transient=False) as live:
        while not job.over:
            time.sleep(interval)
            job = as_now(job)
            figures.update()
            live.update(drawn(), refresh=True)


def _size() -> tuple[int, int]:
    from shutil import get_terminal_size

    return get_terminal_size((_WIDTH, _HEIGHT))


def _has_dots(context: Context) -> bool:
    """Whether the stream has the characters that curves are drawn with."""
    encoding: Any = getattr(context.output.stream, "encoding", None) or "utf-8"
    try:
        "⣿│".encode(encoding)
    except (UnicodeError, LookupError):
        return False
    return True


VERB = Verb(
    name="control",
    summary="look after a job: list, status, watch, logs, save, stop, save-stop, abort, set, cleanup",
    help="""\
One verb for what may be asked about a job and of it. JOB is an id that `control list` shows, or a run folder, also one that another
machine writes to; without it, the only job that is running is meant.

list, logs, attach, save, stop, abort and cleanup are the verbs jobs, logs, attach, save, stop, abort and cleanup. status tells what is
known of one job. watch draws its loss, speed, memory and last events on the terminal until it ends; Ctrl-C leaves, and the job goes
on; --once prints one picture, also of a run of the past; where the output is no terminal, each step that is seen is a line. save-stop saves,
and stops the job only once that checkpoint is on disk. set changes lr_scale (a factor on the learning rate), logging_steps,
eval_steps or save_steps: all processes of the run go by it from the same step on, its checkpoints keep it, and metrics.jsonl says so.
abort ends the processes of a job on this machine; one elsewhere sees in its run folder that it has to end, and does.

Jobs that were handed to Slurm or Kubernetes are asked for there; where only pods see the run folder, the line is run in one of them,
which needs the right to do that (pods/exec). cleanup also removes what was applied for a job of Kubernetes.

With --host the whole line is run on another machine, reached by ssh, by the forge there: for jobs whose run folder cannot be seen from
here. A run answers on its machine at a socket, too, for programs of the same user: its run folder's door.json says where.

  forge control list
  forge control watch tiny-1
  forge control set lr_scale=0.5 save_steps=100 tiny-1
  forge control save-stop tiny-1
  forge control status --host dave@muthur tiny-1
  forge control stop output/pydoc/pretrain/tiny/runs/20260101-120000-pretrain-tiny
""",
    run=_run,
    options=(
        Option(("--all",), "list: show every job that has ended too"),
        Option(("-f", "--follow"), "logs: go on until the job ends"),
        Option(("-n", "--lines"), "logs: begin with the last N lines", "N", type=int),
        Option(("--no-wait",), "stop: ask, and return at once"),
        Option(("--once",), "watch: print one picture, and end"),
        Option(("--host",), "do it on this machine, reached by ssh", "HOST"),
        Option(("--interval",), "watch: look again after so many seconds", "SECONDS", type=float, default=None),
        JSON,
    ),
    positionals=(
        Positional("WORD", "what to do", choices=(*_SHORT, "status", "watch", "save-stop", "set")),
        Positional(
            "JOB", "the id of a job, or a run folder; set: and what to set", least=0, most=None, completes="job"
        ),
    ),
)
