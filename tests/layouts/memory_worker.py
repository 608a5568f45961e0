"""Carries out a frozen run and writes how much memory this process has had for it, beyond what it had with its imports."""

from __future__ import annotations

import importlib
import json
import os
import re
import sys
from pathlib import Path

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "resume"))

from small_run import carry_out

if "RANK" in os.environ:  # what a layout imports, too
    importlib.import_module("torch.distributed.fsdp")
    importlib.import_module("torch.distributed.tensor")


def resident(kind: str) -> int:
    """The bytes of this process in memory now (VmRSS), or at most so far (VmHWM)."""
    found = re.search(rf"^{kind}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024


before = resident("VmRSS")
Path("/proc/self/clear_refs").write_text("5")  # from here on the most is counted anew
carry_out(os.path.join(sys.argv[1], "run"))
rank = os.environ.get("RANK", "0")
Path(sys.argv[1], f"peak-{rank}.json").write_text(json.dumps(resident("VmHWM") - before))
sys.stdout.flush()
os._exit(0)
