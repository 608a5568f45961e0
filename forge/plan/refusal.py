"""One thing that stands in the way of a run: what it is, why, and the ways out."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Refusal"]


class Refusal(NamedTuple):
    """One thing that stands in the way of a run.

    `key` is the value of the config that it hangs on, below the layout unless it begins with ``/``. `nearest` are lines of
    overrides, each of which makes the run possible, the smallest change first.
    """

    key: str
    what: str
    why: str
    nearest: tuple[str, ...] = ()

    @property
    def reason(self) -> str:
        """What is in the way, and why, in one line."""
        return f"{self.what}: {self.why}" if self.why else self.what

    @property
    def ways(self) -> str:
        """The ways out, one a line; empty where none is known."""
        return "\n".join(("possible:", *(f"  {line}" for line in self.nearest))) if self.nearest else ""

    def __str__(self) -> str:
        """The reason, and below it the ways out."""
        return "\n  ".join([self.reason, *self.ways.splitlines()])
