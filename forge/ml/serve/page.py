"""The page for chatting: one file that asks nobody but the server it comes from."""

from __future__ import annotations

import os
from functools import lru_cache
from typing import Final

__all__ = ["CONTENT_POLICY", "chat_page"]

CONTENT_POLICY: Final = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""What the page may do: run what is in it, and ask this server."""


@lru_cache(maxsize=1)
def chat_page() -> str:
    """The page."""
    with open(os.path.join(os.path.dirname(__file__), "page.html"), encoding="utf-8") as file:
        return file.read()
