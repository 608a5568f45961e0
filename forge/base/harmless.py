"""Text for a terminal, without what a terminal would act on in place of showing it."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["harmless"]

# The sequences that only change colours may stay.
_COMMANDS: Final = re.compile(r"(?!\x1b\[[\d;]*m)[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def harmless(text: str) -> str:
    """The text with each character that commands a terminal written out as its number."""
    return _COMMANDS.sub(lambda found: f"\\x{ord(found[0]):02x}", text)
