from __future__ import annotations

import ctypes
import os
import subprocess
import sys

import pytest

from forge.ml.memory.host import give_back_large_blocks

# Blocks as a step takes and frees them: a large one, then another that the heap has no room for, and a small one that stays.
HELD = """
import ctypes, sys
from forge.ml.memory.host import give_back_large_blocks
if sys.argv[1] == "told":
    assert give_back_large_blocks()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
def held():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096
libc.free(libc.malloc(30 << 20))
before = held()
blocks = [libc.malloc(20 << 20) for _ in range(3)]
for block in blocks:
    ctypes.memset(block, 1, 20 << 20)
libc.malloc(100_000)  # on top of them, where they are in a heap
for block in blocks:
    libc.free(block)
print(held() - before)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="another C library")
def test_large_blocks_go_back_when_they_are_freed() -> None:
    found = {
        how: int(subprocess.run([sys.executable, "-c", HELD, how], capture_output=True, text=True, check=True).stdout)
        for how in ("told", "untold")
    }
    assert found["told"] < 10 << 20
    assert found["untold"] > 50 << 20


def test_what_the_environment_says_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "MALLOC_MMAP_THRESHOLD_", "65536")
    assert not give_back_large_blocks()
