"""A profile of some steps: which operations take the time, and where the memory goes."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any, Final

from forge.base.files import make_folder, write_atomic
from forge.ml.train.callback import Callback

if TYPE_CHECKING:
    from collections.abc import Sequence

    from forge.ml.train.run import Run

__all__ = ["Profiler"]

_ROWS: Final = 40


class Profiler(Callback):
    """Records `active_steps` after `wait_steps` and `warmup_steps`, and all of that `num_cycles` times.

    Each cycle leaves two files in the run's ``profile`` folder: a ``.pt.trace.json.gz`` that TensorBoard's profiler plugin and
    Perfetto open, and a table of the operations that took the most time.
    """

    def __init__(
        self,
        wait_steps: int = 5,
        warmup_steps: int = 3,
        active_steps: int = 2,
        num_cycles: int = 1,
        *,
        with_stack: bool = False,
        profile_memory: bool = False,
        record_shapes: bool = True,
        ranks: Sequence[int] = (0,),
    ) -> None:
        for name, value, least in (
            ("wait_steps", wait_steps, 0),
            ("warmup_steps", warmup_steps, 1),  # what a profiler costs when it starts would be measured
            ("active_steps", active_steps, 1),
            ("num_cycles", num_cycles, 1),
        ):
            if value < least:
                raise ValueError(f"{name} is at least {least}, not {value}")
        self.steps = (wait_steps, warmup_steps, active_steps)
        self.num_cycles = num_cycles
        self.records = {"with_stack": with_stack, "profile_memory": profile_memory, "record_shapes": record_shapes}
        self.ranks = tuple(ranks)
        self._profile: Any = None
        self._left = 0
        self._run: Run | None = None

    def begin(self, run: Run) -> None:
        """Start to count the steps."""
        if _rank() not in self.ranks:
            return
        from torch import profiler

        wait, warmup, active = self.steps
        activities = [profiler.ProfilerActivity.CPU]
        if run.device.type == "cuda":
            activities.append(profiler.ProfilerActivity.CUDA)
        self._run, self._left = run, self.num_cycles * sum(self.steps)
        self._profile = profiler.profile(
            activities=activities,
            schedule=profiler.schedule(wait=wait, warmup=warmup, active=active, repeat=self.num_cycles),
            on_trace_ready=self._keep,
            acc_events=True,
            **self.records,
        )
        self._profile.start()

    def after_step(self, run: Run, record: dict[str, Any]) -> None:  # noqa: ARG002 - a callback is given both
        """Move on; behind the last cycle the profiler is taken out."""
        if self._profile is None:
            return
        self._profile.step()
        self._left -= 1
        if self._left == 0:
            self._stop()

    def end(self, run: Run) -> None:  # noqa: ARG002 - as above
        """Keep what a cycle that was cut short has recorded."""
        self._stop()

    def _stop(self) -> None:
        profile, self._profile = self._profile, None
        if profile is not None:
            profile.stop()

    def _keep(self, profile: Any) -> None:
        run = self._run
        if run is None:
            return
        folder = os.path.join(run.folder, "profile")
        make_folder(folder)
        # The plugin takes what stands before the number for the name of the worker.
        name = os.path.join(folder, f"rank{_rank()}_step{run.step}")
        trace = f"{name}.{time.time_ns() // 1_000_000}.pt.trace.json.gz"
        profile.export_chrome_trace(trace)
        by = "self_cuda_time_total" if run.device.type == "cuda" else "self_cpu_time_total"
        write_atomic(f"{name}.txt", profile.key_averages().table(sort_by=by, row_limit=_ROWS) + "\n")
        run.progress.say(f"profile: {trace}")


def _rank() -> int:
    return int(os.environ.get("RANK", "0"))
