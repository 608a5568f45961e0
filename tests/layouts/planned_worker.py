"""Carries out a frozen run and writes the most memory that its steps have had, beyond what this process had before there was a model.

A small run of the same kind goes first, so that what is loaded late counts for nobody.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "resume"))

from small_run import carry_out

from forge.ml.train.callback import Callback

if TYPE_CHECKING:
    from forge.ml.train.run import Run


def resident(kind: str) -> int:
    """The bytes of this process in memory now (VmRSS), or at most so far (VmHWM)."""
    found = re.search(rf"^{kind}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024


class Peak(Callback):
    """The most memory from the second step on, when the optimizer has its state."""

    most = 0

    def after_step(self, run: Run, _record: dict[str, Any]) -> None:
        if run.step == 1:
            gc.collect()
            Path("/proc/self/clear_refs").write_text("5")

    def end(self, _run: Run) -> None:
        self.most = resident("VmHWM")


if "RANK" in os.environ:  # what a layout imports, too
    importlib.import_module("torch.distributed.fsdp")
    importlib.import_module("torch.distributed.tensor")
carry_out(os.path.join(sys.argv[1], "small"))
gc.collect()
before = resident("VmRSS")
peak = Peak()
carry_out(os.path.join(sys.argv[1], "run"), peak)
Path(sys.argv[1], f"peak-{os.environ.get('RANK', '0')}.json").write_text(json.dumps(peak.most - before))
sys.stdout.flush()
os._exit(0)
