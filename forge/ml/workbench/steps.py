"""Take the first steps of a run, as `forge train` would take them, and leave nothing behind."""

from __future__ import annotations

import contextlib
import gc
import json
import math
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import torch

from forge.base.errors import ForgeError
from forge.base.sizes import shown_size
from forge.build.frozen import thaw
from forge.ml.train.metrics import plain
from forge.ml.train.setup import build_settings, make_run
from forge.ml.train.step import take_step
from forge.ml.train.stopping import Stopping
from forge.ml.workbench.answer import Outcome
from forge.ml.workbench.spoken import SpokenConsole

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from forge.ml.train.run import Run

__all__ = ["try_steps"]

_PARTS: Final = ("data", "forward", "backward", "optimizer", "other")
_FAILED: Final = 1
_UNITS: Final = ((1, "s"), (60, "min"), (3600, "h"))
_DAYS: Final = (86400, "days")
_MANY: Final = 100  # of a unit, from which on the next one says enough


def try_steps(progress: Callable[[str], None], *, run: str, count: int, as_json: bool) -> Outcome:
    """Take ``count`` steps of the frozen run in its folder, from the beginning, and say what was measured.

    Everything is built anew, so that the loss is that of a run which begins now: nothing is kept from an earlier request but what has
    been imported, and the encoded rows that are on disk for every run. Checkpoints are neither read nor written, and loggers
    are left out.
    """
    whole = _forget_peak()
    frozen = thaw(run)
    settings = replace(
        build_settings(frozen),
        output_dir=os.path.join(run, "output"),
        overwrite_output_dir=False,
        resume_from_checkpoint=None,
        save_strategy="no",
        logging=(),
    )
    made = make_run(settings, frozen, Stopping(), SpokenConsole(progress))
    try:
        records, error = _take(made, count, progress)
        found = _found(made, records, whole=whole)
    finally:
        made.close()
    text = json.dumps(plain(found), indent=2) if as_json else _text(found)
    return Outcome(text if records else "", _FAILED if error or not _is_finite(records) else 0, error=error)


def _take(run: Run, count: int, progress: Callable[[str], None]) -> tuple[list[dict[str, Any]], str]:
    """The records of the steps, and why there are no more of them where that is an error."""
    records: list[dict[str, Any]] = []
    run.tell("begin")  # what does not fit the run is refused here
    try:
        while len(records) < count and not run.finished:
            progress(f"step {len(records) + 1} of {count}")
            records.append(take_step(run))
    except ForgeError as error:
        return records, str(error)
    finally:
        run.tell("end")
    return records, ""


def _found(run: Run, records: Sequence[dict[str, Any]], *, whole: bool) -> dict[str, Any]:
    on_gpu = run.device.type == "cuda"
    return {
        "device": str(run.device),
        "total_steps": run.total_steps,
        "steps": list(records),
        "peak_memory": run.peak_memory(),
        "peak_of": "tensors on the GPU"
        if on_gpu
        else f"the whole process with its libraries{'' if whole else ', since it began'}",
    }


def _is_finite(records: Sequence[dict[str, Any]]) -> bool:
    return all(math.isfinite(record["loss"]) for record in records)


def _text(found: dict[str, Any]) -> str:
    rows = [("step", "loss", "grad norm", "lr", "tokens/s", "seconds", *_PARTS)]
    rows += [_row(record) for record in found["steps"]]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    table = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    return "\n".join([*table, f"peak memory {shown_size(found['peak_memory'])} ({found['peak_of']})", _outlook(found)])


def _row(record: dict[str, Any]) -> tuple[str, ...]:
    seconds, norm = record["seconds"], record["grad_norm"]
    return (
        str(record["step"]),
        f"{record['loss']:.4f}",
        "-" if norm is None else f"{norm:.4f}",
        f"{record['lr']:.2e}",
        f"{record['tokens_per_second']:,.0f}",
        f"{sum(seconds.values()):.3f}",
        *(f"{seconds[part]:.3f}" for part in _PARTS),
    )


def _outlook(found: dict[str, Any]) -> str:
    """How long all steps would take at the speed of the last one."""
    last, total = found["steps"][-1], found["total_steps"]
    return f"{total:,} steps at the speed of the last one: {_duration(sum(last['seconds'].values()) * total)}"


def _duration(seconds: float) -> str:
    unit, name = next((one for one in _UNITS if seconds < _MANY * one[0]), _DAYS)
    return f"{seconds / unit:,.0f} {name}"


def _forget_peak() -> bool:
    """Let the peak of memory be that of what comes now; false where the system cannot forget the one of the process."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w", encoding="ascii") as file:
        file.write("5")
        return True
    return False
