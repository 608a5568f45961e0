"""Rows of a stream that cannot be used: they are met while the run goes on, so they are told then."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from forge.ml.train.callback import Callback

if TYPE_CHECKING:
    from collections.abc import Callable

    from forge.ml.data.report import Report
    from forge.ml.train.run import Run

__all__ = ["LostRows"]

_TIMES: Final = 2


class LostRows(Callback):
    """Part of every run: says for which reasons rows are lost, when one is new or its rows have doubled, and all of them at the end.

    What is known before the first step has been told by then.
    """

    def __init__(self, report: Callable[[], Report]) -> None:
        self._report = report
        self._told = report().copy()

    def after_step(self, run: Run, record: dict[str, Any]) -> None:  # noqa: ARG002 - a callback is given both
        """Tell what has been read since."""
        self._tell(run, _TIMES)

    def end(self, run: Run) -> None:
        """Tell how many there were."""
        self._tell(run, 1)

    def _tell(self, run: Run, times: int) -> None:
        lost = self._report().lost_since(self._told, times)
        for line in lost.lines():
            run.progress.say(line)
        for kind in ("dropped", "shortened"):
            told = dict(getattr(self._told, kind))
            setattr(self._told, kind, told | getattr(lost, kind))
