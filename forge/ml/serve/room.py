"""How much memory a server may take."""

from __future__ import annotations

import os
from typing import Final

__all__ = ["free_memory"]

_MEMORY: Final = "/proc/meminfo"


def free_memory() -> int:
    """The bytes of this machine's memory that are free, or would be: files that were read lately give way."""
    try:
        with open(_MEMORY, encoding="ascii") as file:
            found = next((int(line.split()[1]) << 10 for line in file if line.startswith("MemAvailable:")), None)
    except OSError:
        found = None
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES") if found is None else found
