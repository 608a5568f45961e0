"""One process of several runs, one after another: importing torch takes longer than any of them.

``python -m torch.distributed.run ... pipeline_process.py FOLDER NAME=PORT...`` carries out the frozen run ``FOLDER/NAME`` for each name,
and writes beside it what the process with a rank has seen: the gradients of the first step and the last weights. At its port
the processes of a run meet: what torchrun offers for that serves for one run only.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from forge.ml.train.run import Run


def _whole(tensors: dict[str, Any]) -> dict[str, Any]:
    from forge.ml.parallel.pieces import whole

    return {name: whole(tensor.detach()).cpu().clone().contiguous() for name, tensor in tensors.items()}


def carry_out(folder: Path, name: str) -> None:
    """Carry out one run, and write down what this process has seen of it."""
    from safetensors.torch import save_file

    from forge.ml.train import step
    from forge.ml.train.loop import train
    from forge.ml.train.setup import set_up
    from forge.ml.train.stopping import Stopping

    rank = os.environ.get("RANK", "0")
    clip, seen = step._clip, {}

    def noting(run: Run) -> Any:
        if not seen:
            seen.update(_whole({n: p.grad for n, p in run.model.named_parameters() if p.grad is not None}))
        return clip(run)

    step._clip = noting
    try:
        run = set_up(str(folder / name), Stopping())
        try:
            train(run)
        finally:
            run.close()
        weights = _whole(dict(run.model.named_parameters()))
        run.world.leave()
    finally:
        step._clip = clip
    save_file(seen, folder / f"{name}.gradients.{rank}")
    save_file(weights, folder / f"{name}.weights.{rank}")


if __name__ == "__main__":
    os.environ["TORCHELASTIC_USE_AGENT_STORE"] = "False"
    for each in sys.argv[2:]:
        name, _, os.environ["MASTER_PORT"] = each.partition("=")
        carry_out(Path(sys.argv[1]), name)
