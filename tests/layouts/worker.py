"""One of the processes that carry out runs, one after another: started by torchrun, or alone for what is right.

For each case it leaves in the folder of the case, written by the first process: the losses and norms of the steps, the evaluations,
every gradient of the first step, and the weights after the last.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "resume"))

import torch
from safetensors.torch import save_file
from small_run import carry_out

from forge.ml.parallel.pieces import wholes
from forge.ml.train.callback import Callback

if TYPE_CHECKING:
    from collections.abc import Iterable

    from forge.ml.train.run import Run


class Watch(Callback):
    """Keeps what a run shows; all processes ask for what is whole, and the first writes it down."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.steps: list[dict[str, float]] = []
        self.evaluations: list[float] = []
        self.ids: list[list[Any]] = []

    def before_update(self, run: Run, _loss: float, _norm: float | None) -> bool:
        if run.step == 0:
            gradients = ((name, parameter.grad) for name, parameter in run.model.named_parameters())
            self._keep(run, "gradients", ((name, gradient) for name, gradient in gradients if gradient is not None))
        return True

    def after_step(self, run: Run, record: dict[str, Any]) -> None:
        self.steps.append({name: record[name] for name in ("loss", "grad_norm", "tokens", "trained_tokens")})
        self.ids.append([batch.ids for batch in run.batch])

    def after_evaluation(self, _run: Run, records: list[dict[str, Any]]) -> None:
        self.evaluations += [record["eval_loss"] for record in records]

    def end(self, run: Run) -> None:
        self._keep(run, "weights", run.model.named_parameters())
        (self.folder / f"ids-{run.world.rank}.json").write_text(json.dumps(self.ids))
        if run.world.first:
            shown = {"steps": self.steps, "evaluations": self.evaluations}
            (self.folder / "figures.json").write_text(json.dumps(shown))

    def _keep(self, run: Run, name: str, tensors: Iterable[tuple[str, torch.Tensor]]) -> None:
        found = wholes({key: tensor.detach() for key, tensor in tensors}, lambda tensor: tensor.clone().contiguous())
        mine = run.world.rank // (run.world.size // run.world.layout.pp)
        if run.world.rank % (run.world.size // run.world.layout.pp) == 0:
            save_file(found, self.folder / f"{name}-{mine}.safetensors")


def main(folders: list[str]) -> None:
    """Carry out the run that is frozen in each of the folders."""
    for folder in folders:
        carry_out(os.path.join(folder, "run"), Watch(Path(folder)))
        if torch.distributed.is_initialized():
            torch.distributed.barrier()


if __name__ == "__main__":
    torch.use_deterministic_algorithms(mode=True)
    main(sys.argv[1:])
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    sys.stdout.flush()
    os._exit(0)
