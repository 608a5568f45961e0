"""What libraries of C keep between two steps: of prepared matrix products little, of freed memory most. It imports no torch."""

from __future__ import annotations

import ctypes
import os
import sys
from typing import Final

__all__ = ["choose_kept_memory"]

_CAPACITIES: Final = {
    # torch's mkldnn layer keeps what it has prepared for a matrix product, with the scratch memory, for 1,024 shapes. One is as
    # quick, and a model of 10M parameters in bf16 takes about 120 MB less.
    "LRU_CACHE_CAPACITY": "1",
    # The library below keeps its own, also of 1,024 shapes: documents of many lengths make many, and the memory rose with each step.
    "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "64",
}
# Of the GNU C library: the options of mallopt, and what in the environment chooses the same.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_CHOSEN: Final = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")
_KEPT: Final = 1 << 30
# The most that the manual of mallopt promises to take. Where more is refused every tensor would be handed back.
_LARGE: Final = 32 << 20


def choose_kept_memory() -> None:
    """Choose it for this process, before torch is imported; what the environment says about it stays.

    Tensors of a step are as large as those of the step before. Handed back to the system they come again as pages that it has to
    clear, some 80,000 a step of 4,096 tokens of a model of 10M parameters.
    """
    for name, value in _CAPACITIES.items():
        os.environ.setdefault(name, value)
    if sys.platform != "linux" or any(name in os.environ for name in _CHOSEN):
        return
    library = ctypes.CDLL(None)
    if hasattr(library, "gnu_get_libc_version"):
        library.mallopt(_TRIM_THRESHOLD, _KEPT)
        library.mallopt(_MMAP_THRESHOLD, _LARGE)
