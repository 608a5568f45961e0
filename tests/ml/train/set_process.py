"""One of the processes of a run that is changed while it goes on: each writes down the rates it has learned with, and its settings."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "..", "resume"))

from small_run import carry_out

from forge.control.settings import ask_to_set
from forge.ml.train.callback import Callback

if TYPE_CHECKING:
    from forge.ml.train.run import Run


class Watch(Callback):
    """Asks once, in the first process; what each process goes by is seen in every step."""

    def __init__(self) -> None:
        self.rates: list[float] = []
        self.saving: list[int] = []

    def before_step(self, run: Run) -> None:
        if run.step == 1 and run.world.first:
            ask_to_set(run.folder, {"lr_scale": 0.25, "save_steps": 3})

    def before_update(self, run: Run, loss: float, grad_norm: float | None) -> bool:  # noqa: ARG002 - what a callback is given
        self.rates.append(run.optimizer.param_groups[0]["lr"])
        self.saving.append(run.settings.save_steps)
        return True

    def after_step(self, run: Run, record: dict[str, Any]) -> None:
        assert record["lr"] == self.rates[-1]
        Path(run.folder, f"seen-{run.world.rank}.json").write_text(json.dumps([self.rates, self.saving]))


if __name__ == "__main__":
    carry_out(sys.argv[1], Watch()).world.leave()
