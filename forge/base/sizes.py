"""Numbers of bytes as people read them."""

from __future__ import annotations

from typing import Final

__all__ = ["shown_size"]

_UNITS: Final = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


def shown_size(size: float) -> str:
    """``1.5 GB`` for 1,500,000,000 bytes, in the largest unit of which there is at least one."""
    # What would be rounded to a thousand of a unit is one of the next.
    return next((f"{size / unit:.1f} {name}" for unit, name in _UNITS if size >= unit * 0.99995), f"{size:.0f} B")
