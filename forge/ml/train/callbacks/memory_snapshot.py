"""What lies in the memory of a GPU, and which line of code put it there."""

from __future__ import annotations

import json
import os
from collections import Counter
from typing import TYPE_CHECKING, Any, Final, Literal

from forge.base.files import make_folder, write_atomic
from forge.ml.train.callback import Callback

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from forge.ml.train.run import Run

__all__ = ["MemorySnapshot", "summary"]

_PLACES: Final = 50
_FRAMES: Final = 6


class MemorySnapshot(Callback):
    """Records every allocation of a CUDA GPU and keeps a snapshot after some steps, and when the memory runs out.

    Each snapshot is two files in the run's ``memory`` folder: a ``.json`` that says which lines hold how much, and torch's own
    ``.pickle``, which the viewer at pytorch.org/memory_viz opens (it reads no other form; forge itself never reads it).
    Other devices keep no such history: there the run says so and goes on.
    """

    def __init__(
        self,
        at_steps: Sequence[int] = (3,),
        *,
        on_out_of_memory: bool = True,
        max_entries: int = 100_000,
        stacks: Literal["python", "all"] = "python",
    ) -> None:
        if any(step < 1 for step in at_steps):
            raise ValueError(f"at_steps are numbers of steps, from 1 on, not {list(at_steps)}")
        if max_entries < 1:
            raise ValueError(f"max_entries is at least 1, not {max_entries}")
        if stacks not in ("python", "all"):
            raise ValueError(f"stacks is python or all, not {stacks!r}")
        self.at_steps = frozenset(at_steps)
        self.on_out_of_memory, self.max_entries, self.stacks = on_out_of_memory, max_entries, stacks
        self._run: Run | None = None

    def begin(self, run: Run) -> None:
        """Start to record."""
        if run.device.type != "cuda":
            run.progress.say(f"no memory snapshots: only CUDA keeps a history of its memory, and this is {run.device}")
            return
        import torch

        self._run = run
        torch.cuda.memory._record_memory_history(max_entries=self.max_entries, stacks=self.stacks)  # noqa: SLF001 - torch documents it under this name
        if self.on_out_of_memory:  # asked while everything still lies there; torch has no way to take it back
            torch._C._cuda_attach_out_of_memory_observer(self._out_of_memory)  # noqa: SLF001 - as above

    def after_step(self, run: Run, record: dict[str, Any]) -> None:  # noqa: ARG002 - a callback is given both
        """Keep a snapshot when it is time."""
        if self._run is not None and run.step in self.at_steps:
            self._keep(f"step{run.step}")

    def end(self, run: Run) -> None:  # noqa: ARG002 - as above
        """Stop recording."""
        if self._run is None:
            return
        import torch

        self._run = None
        torch.cuda.memory._record_memory_history(enabled=None)  # noqa: SLF001 - as above

    def _out_of_memory(self, device: int, asked: int, total: int, free: int) -> None:
        if self._run is not None:
            facts = {"device": device, "asked_for": asked, "device_total": total, "device_free": free}
            self._keep(f"out_of_memory_step{self._run.step + 1}", facts)

    def _keep(self, name: str, facts: Mapping[str, Any] | None = None) -> None:
        import torch

        run = self._run
        if run is None:
            return
        path = os.path.join(run.folder, "memory", name)
        make_folder(os.path.dirname(path))
        torch.cuda.memory._dump_snapshot(f"{path}.pickle")  # noqa: SLF001 - as above
        found = summary(torch.cuda.memory._snapshot())  # noqa: SLF001 - as above
        write_atomic(f"{path}.json", json.dumps({"step": run.step, **(facts or {}), **found}, indent=1) + "\n")
        run.progress.say(f"memory snapshot: {path}.pickle")


def summary(snapshot: Mapping[str, Any]) -> dict[str, Any]:
    """How much is allocated and reserved, and the places in the code that hold the most of it, with their callers."""
    sizes: Counter[tuple[str, ...]] = Counter()
    counts: Counter[tuple[str, ...]] = Counter()
    for segment in snapshot["segments"]:
        for block in segment["blocks"]:
            if block["state"] == "active_allocated":
                place = _place(block.get("frames") or ())
                sizes[place] += block["size"]
                counts[place] += 1
    return {
        "allocated": sum(segment["allocated_size"] for segment in snapshot["segments"]),
        "reserved": sum(segment["total_size"] for segment in snapshot["segments"]),
        "largest": [
            {"bytes": size, "blocks": counts[place], "at": list(place)} for place, size in sizes.most_common(_PLACES)
        ],
    }


def _place(frames: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """The innermost lines of a stack, without those inside torch when there are others."""
    lines = [(frame["filename"], f"{frame['filename']}:{frame['line']} {frame['name']}") for frame in frames]
    outside = [text for name, text in lines if f"{os.sep}torch{os.sep}" not in name]
    return tuple((outside or [text for _, text in lines])[:_FRAMES])
