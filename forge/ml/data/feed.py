"""What a loader loads from: sequences one after another without end, from any cursor on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from forge.ml.data.split import Split

__all__ = ["Sequence", "SequenceFeed"]

Sequence = tuple["Split", int]
"""A split, and the number of a sequence in it."""


class SequenceFeed(Protocol):
    """An endless row of sequences. A cursor is plain JSON data and says where in the row one stands."""

    length: int | None
    """The sequences of an epoch; None when nobody knows before the end."""

    def facts(self) -> dict[str, Any]:
        """What has to be the same for a cursor to mean the same."""

    def start(self) -> Any:
        """The cursor of a run that begins."""

    def take(self, cursor: Any, count: int) -> tuple[list[Sequence], Any]:
        """The next sequences, and the cursor behind them."""

    def epoch(self, cursor: Any) -> float:
        """How many epochs lie before a cursor."""

    def close(self) -> None:
        """End what works in the background."""
