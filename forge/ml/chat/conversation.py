"""The one form in which a conversation goes on, whatever its row looked like; and why a row could not take it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

__all__ = ["Conversation", "RowError"]


class RowError(Exception):
    """A row that cannot be used: a short reason that rows are counted by, and what it was in this row."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}" if self.detail else self.reason


@dataclass(frozen=True, slots=True)
class Conversation:
    """Messages as chat templates know them, and the tools that the assistant may call.

    ``marks`` has for each message what its row says about learning it: True, False, or None where it says nothing; it is empty
    when the row says nothing at all. ``plain`` is a pair of texts, a prompt and its completion, that no template touches.
    ``variables`` are the row's own values for its template.
    """

    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]] | None = None
    marks: tuple[bool | None, ...] = ()
    plain: bool = False
    variables: dict[str, Any] = field(default_factory=dict)

    def assistant_turns(self) -> list[int]:
        """The positions of the messages that the assistant says."""
        return [index for index, message in enumerate(self.messages) if message["role"] == "assistant"]
