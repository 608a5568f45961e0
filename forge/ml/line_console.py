"""The console of a process that tells what it does line by line."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, TextIO

from rich.console import Console

from forge.base.harmless import harmless

if TYPE_CHECKING:
    from rich.text import Text

__all__ = ["LineConsole"]


class LineConsole(Console):
    """Prints names of files, sentences and what models say as they are: nothing in them is markup, and nothing commands the terminal."""

    def __init__(self, stream: TextIO | None = None, *, quiet: bool = False) -> None:
        file = stream or sys.stderr
        super().__init__(file=file, highlight=False, markup=False, emoji=False, soft_wrap=True, quiet=quiet)

    def render_str(self, text: str, **options: Any) -> Text:
        """What becomes of each text that is printed."""
        return super().render_str(harmless(text) if self.is_terminal else text, **options)
