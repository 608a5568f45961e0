"""What the places of pipelines do and when: one of the processes that ``benchmarks/parallel.py`` starts, with frozen runs as its arguments.

All runs are carried out one after another in the same processes. A place notes when each forward and backward pass begins and ends, by a
clock that all share; the first prints of each run and step how long all passes took together, the share of time in which a place
waited between the first and the last of them, the share in which it computed and the processor was somebody else's, and how long each
kind of pass took in each stage. With ``PASS_SECONDS`` a pass ends no earlier than that after it began, a whole backward pass than twice
that: what is left of it the place sleeps, as it does while a GPU computes for it.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from functools import wraps
from statistics import fmean
from typing import TYPE_CHECKING, Any

import torch.distributed as dist

from forge.ml.parallel.pipeline_stage import StageRunner
from forge.ml.train.callback import Callback
from forge.ml.train.loop import train
from forge.ml.train.setup import set_up
from forge.ml.train.stopping import Stopping

if TYPE_CHECKING:
    from forge.ml.train.run import Run

WARM_UP = int(os.environ["WARM_UP"])
PASS_SECONDS = float(os.environ.get("PASS_SECONDS", "0"))
_passes: list[tuple[str, int, float, float, float]] = []


def noted(name: str, kind: str) -> None:
    """Have the calls of a method of a stage noted, as passes of a kind."""
    method = getattr(StageRunner, name)

    @wraps(method)
    def timed(stage: StageRunner, *args: Any, **kwargs: Any) -> Any:
        began, used = time.perf_counter(), time.thread_time()
        result = method(stage, *args, **kwargs)
        whole = kind == "I" and kwargs.get("full_backward", True)
        time.sleep(max(0.0, began + PASS_SECONDS * (2 if whole else 1) - time.perf_counter()))
        _passes.append(
            ("B" if whole else kind, stage.stage_index, began, time.perf_counter(), time.thread_time() - used)
        )
        return result

    setattr(StageRunner, name, timed)


class Watch(Callback):
    """Brings together what all places have noted of a step."""

    def __init__(self) -> None:
        self.steps: list[dict[str, Any]] = []

    def before_step(self, _run: Run) -> None:
        """Begin anew."""
        _passes.clear()

    def after_step(self, run: Run, _record: dict[str, Any]) -> None:
        """Share what was noted, and keep the figures."""
        rows: list[Any] = [None] * run.world.size
        dist.all_gather_object(rows, list(_passes))
        if run.step > WARM_UP:
            self.steps.append(figures([one for row in rows for one in row], run.world.size))


def figures(passes: list[tuple[str, int, float, float, float]], places: int) -> dict[str, Any]:
    """What the passes of a step tell."""
    span = max(end for *_, end, _ in passes) - min(began for *_, began, _, _ in passes)
    busy = sum(end - began for *_, began, end, _ in passes)
    took: dict[str, list[float]] = {}
    for kind, stage, began, end, _ in passes:
        took.setdefault(f"{kind}{stage}", []).append(end - began)
    wanted = sum(PASS_SECONDS * (2 if kind == "B" else 1) for kind, *_ in passes)
    return {
        "busy": busy,
        "longer": busy / wanted - 1 if wanted else 0.0,
        "idle": 1 - busy / places / span,
        "taken": (busy - sum(used for *_, used in passes)) / places / span,
        "costs": {name: fmean(each) for name, each in took.items()},
    }


def carry_out(folder: str) -> None:
    """Carry out one run, and print its figures."""
    run, watch = set_up(folder, Stopping()), Watch()
    run.callbacks = [*run.callbacks, watch]
    try:
        train(run)
    finally:
        run.close()
    if run.world.first:
        print(json.dumps({"steps": watch.steps}), flush=True)


def leave_groups() -> None:
    """End the groups of processes that a run has made: each has a thread that wakes a hundred times a second, on a core that computes."""
    dist.barrier()
    for group in list(dist.distributed_c10d._world.pg_map):  # noqa: SLF001 - no public name
        if group is not dist.group.WORLD:
            dist.destroy_process_group(group)
    gc.collect()


for method, kind in (("forward_one_chunk", "F"), ("backward_one_chunk", "I"), ("backward_weight_one_chunk", "W")):
    noted(method, kind)
dist.init_process_group("gloo")
for folder in sys.argv[1:]:
    carry_out(folder)
    leave_groups()
dist.barrier()
sys.stdout.flush()
os._exit(0)
