"""``forge attach``: watch a job in the background as if it ran on this terminal."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from forge.cli.options import JOB
from forge.cli.registry import Verb

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TypeAlias

    from forge.cli.session import Context
    from forge.control.known import KnownJob

    _View: TypeAlias = "tuple[Callable[[str], None], Callable[[], None]]"

__all__ = ["VERB"]

_LINES: Final = 20


def _run(context: Context) -> int:
    from forge.control.jobs import tell  # `forge --help` asks for no job
    from forge.control.known import as_now, find_job

    job = find_job(*context.words)
    try:
        _watch(context, job)
    except KeyboardInterrupt:
        context.output.note(f"detached: {job.id} goes on; attach {job.id} comes back, stop {job.id} ends it")
        return 0
    ended = as_now(job)
    context.output.note(tell(ended))
    return 1 if ended.record.code is None else ended.record.code


def _watch(context: Context, job: KnownJob) -> None:
    """Print what the job prints, above a bar when this is a terminal."""
    from forge.control.follow import follow_log, last_lines
    from forge.control.known import as_now

    console = job.record.console if os.path.isfile(job.record.console) else os.devnull
    lines, place = last_lines(console, _LINES)
    if not job.over:
        context.output.note(f"Ctrl-C detaches, and does not stop {job.id}")
    with _bar(context, job) if job.running and context.output.stream.isatty() else _plain(context) as (say, update):
        for line in lines:
            say(line)
        for text in follow_log(console, place, lambda: as_now(job).over):
            if text is None:
                update()
            else:
                say(text)


@contextmanager
def _plain(context: Context) -> Iterator[_View]:
    """Nothing but the lines."""
    yield context.output.write, context.output.flush
    context.output.flush()


@contextmanager
def _bar(context: Context, job: KnownJob) -> Iterator[_View]:
    """The lines, and below them how far the job is."""
    from rich.console import Console  # only on a terminal
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
    from rich.text import Text

    from forge.control.known import shown_loss
    from forge.control.progress import progress_of

    console = Console(file=context.output.stream, highlight=False, markup=False, soft_wrap=True)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(bar_width=30), TaskProgressColumn())
    bar = Progress(*columns, TimeElapsedColumn(), console=console)
    task = bar.add_task(job.id, total=None)

    def update() -> None:
        now = progress_of(job.record.run)
        speed = "" if now.tokens_per_second is None else f"  {now.tokens_per_second:,.0f} tokens/s"
        loss = "" if now.loss is None else f"  loss {shown_loss(now.loss)}"
        bar.update(task, description=f"{job.id} {now.steps}{loss}{speed}", total=now.total, completed=now.step or 0)

    with bar:
        # Colours may stay; whatever else a terminal would act on is dropped.
        yield lambda line: console.print(Text.from_ansi(line)), update


VERB = Verb(
    name="attach",
    summary="watch a job in the background, and leave it again",
    help="""Print the last lines of what a job prints and go on until it ends, on a terminal with a bar that shows how far it is. Ctrl-C detaches: the
job goes on. A job that runs on another terminal shows its bar alone. The exit code is that of the job.

  forge attach tiny-1
""",
    run=_run,
    positionals=(JOB,),
)
