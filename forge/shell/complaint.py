"""What went wrong inside the prompt: remembered, shown once, and never raised while somebody types."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Complaints"]

_Result = TypeVar("_Result")


class Complaints:
    """Keeps the newest mistake until it was shown at one prompt; the same one is not shown again."""

    def __init__(self) -> None:
        self.text = ""
        self.details = ""
        self._shown: set[str] = set()

    def add(self, what: str, error: BaseException | str) -> None:
        """Remember that ``what`` failed; ``details`` has the traceback."""
        reason = error if isinstance(error, str) else f"{type(error).__name__}: {error}"
        text = " ".join(f"{what}: {reason}".split())
        if text not in self._shown:
            self._shown.add(text)
            self.text = text
            self.details = "" if isinstance(error, str) else "".join(traceback.format_exception(error))

    def next_prompt(self) -> None:
        """What was shown so far has been seen."""
        self.text = ""

    def guarded(self, what: str, call: Callable[[], _Result], otherwise: _Result) -> _Result:
        """The result of a call, or ``otherwise`` when it fails."""
        try:
            return call()
        except Exception as error:  # noqa: BLE001 - a mistake in what helps to type must not end the typing
            self.add(what, error)
            return otherwise
