"""What a config file says of itself in the comment at its top."""

from __future__ import annotations

from typing import Final

__all__ = ["heading"]

_HEAD: Final = 4_000


def heading(file: str) -> str:
    """The comment lines at the top of a file without their marks; empty when there are none. Hydra's headers are left out."""
    try:
        with open(file, encoding="utf-8", errors="replace") as opened:
            lines = opened.read(_HEAD).splitlines()
    except OSError:
        return ""
    found: list[str] = []
    for line in lines:
        text = line.strip()
        if not text.startswith("#"):
            if text or found:
                break
            continue
        text = text.lstrip("#").strip()
        if not text.startswith("@"):
            found.append(text)
    return "\n".join(found).strip()
