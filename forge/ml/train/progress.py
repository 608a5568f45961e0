"""What a person sees of a run while it goes on: a bar in a terminal, plain lines everywhere else."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from rich.progress import BarColumn, MofNCompleteColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from forge.ml.line_console import LineConsole

if TYPE_CHECKING:
    from types import TracebackType

    from rich.console import Console
    from typing_extensions import Self

__all__ = ["Progress"]

_SPEED_FROM: Final = 1800.0  # seconds of steps that tell how long the others take; a step may take minutes


class Progress:
    """Shows how far a run is, its loss and its speed."""

    def __init__(self, total_steps: int, logging_steps: int, step: int = 0, console: Console | None = None) -> None:
        self.console = console or LineConsole()
        self.logging_steps = logging_steps
        self._total = total_steps
        self._bar = Bar(
            TextColumn("step"),
            MofNCompleteColumn(),
            BarColumn(bar_width=30),
            TaskProgressColumn(),
            TextColumn("{task.fields[state]}"),
            TimeRemainingColumn(compact=True),
            console=self.console,
            speed_estimate_period=_SPEED_FROM,
            disable=not self.console.is_terminal,
        )
        self._task = self._bar.add_task("training", total=total_steps, completed=step, state="")

    def __enter__(self) -> Self:
        """Show the bar."""
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the bar as it stands."""
        self._bar.stop()

    def step(self, record: dict[str, Any]) -> None:
        """A step is done."""
        state = f"loss {record['loss']:.4f}  {record['tokens_per_second']:,.0f} tokens/s"
        self._bar.update(self._task, completed=record["step"], state=state)
        if not self.console.is_terminal and _is_logged(record["step"], self.logging_steps, self._total):
            self.say(f"step {record['step']}/{self._total}  {state}  lr {record['lr']:.2e}{self._times()}")

    def evaluated(self, record: dict[str, Any]) -> None:
        """An evaluation is done."""
        self.say(
            f"step {record['step']}: {record['dataset']}: "
            f"loss {record['eval_loss']:.4f}, perplexity {record['perplexity']:.2f}"
        )

    def _times(self) -> str:
        """How long the steps took until now, and will take; a file has no bar that says it."""
        (task,) = self._bar.tasks
        if not task.time_remaining:
            return ""
        gone, left = (timedelta(seconds=round(seconds)) for seconds in (task.elapsed or 0, task.time_remaining))
        return f"  {gone} gone, {left} left"

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        self.console.print(text)


def _is_logged(step: int, every: int, total: int) -> bool:
    return step % every == 0 or step in {1, total}
