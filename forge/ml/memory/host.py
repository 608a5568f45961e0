"""The memory of the process itself: what is freed of it goes back to the system, where the C library has a way to be told so."""

from __future__ import annotations

import ctypes
import os
from typing import Final

__all__ = ["give_back_large_blocks"]

_LARGE: Final = 4 << 20
_MMAP_THRESHOLD: Final = -3  # as malloc.h of glibc has it
_CHOSEN: Final = "MALLOC_MMAP_THRESHOLD_"


def give_back_large_blocks() -> bool:
    """Let the C library take blocks of 4 MB and more from the system one by one, and give each back when it is freed.

    By itself glibc stops doing so at the first large block that is freed: from then on tensors of all sizes share one heap, and
    the holes between them stay memory of the process. What a user has chosen in the environment stays. Whether it was told.
    """
    if _CHOSEN in os.environ:
        return False
    tell = getattr(ctypes.CDLL(None), "mallopt", None)
    return tell is not None and tell(_MMAP_THRESHOLD, _LARGE) == 1
