"""What is kept between two steps: said before torch is there, and freed memory is truly kept."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

NAMES = ("LRU_CACHE_CAPACITY", "ONEDNN_PRIMITIVE_CACHE_CAPACITY")
MALLOC = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")
# Twenty times 30 MB are written and freed; how many pages the system had to bring.
FAULTS = """
import ctypes, resource, sys
from forge.ml.kept_memory import choose_kept_memory
choose_kept_memory()
assert "torch" not in sys.modules
library = ctypes.CDLL(None)
library.malloc.restype, library.malloc.argtypes, library.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    place = library.malloc(30 << 20)
    ctypes.memset(place, 1, 30 << 20)
    library.free(place)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def said(code: str, **environment: str) -> str:
    clean = {name: value for name, value in os.environ.items() if name not in (*NAMES, *MALLOC)}
    words = [sys.executable, "-c", code]
    return subprocess.run(
        words, env=clean | environment, capture_output=True, text=True, timeout=60, check=True
    ).stdout.strip()


@pytest.mark.parametrize(("given", "capacities"), [({}, "1 64"), ({NAMES[0]: "7"}, "7 64"), ({NAMES[1]: "9"}, "1 9")])
def test_what_the_environment_says_stays(given: dict[str, str], capacities: str) -> None:
    code = "import os; from forge.ml.kept_memory import choose_kept_memory; choose_kept_memory()"
    assert said(f"{code}; print(*map(os.environ.get, {NAMES}))", **given) == capacities


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only the GNU C library is told")
def test_freed_memory_is_kept() -> None:
    whole = 20 * (30 << 20) // os.sysconf("SC_PAGE_SIZE")
    assert int(said(FAULTS)) < whole / 10
    assert int(said(FAULTS, MALLOC_MMAP_THRESHOLD_="65536")) >= whole * 0.9
