"""A watch over loss and gradients: what is not a finite number is traced to its module and its batch."""

from __future__ import annotations

import json
import math
import os
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final, Literal

from forge.base.errors import RunError
from forge.base.files import write_atomic
from forge.control.heartbeat import own_heart
from forge.ml.train.callback import Callback
from forge.ml.train.metrics import plain

if TYPE_CHECKING:
    from forge.ml.data.batch import Batch
    from forge.ml.train.callbacks.first_bad import Fault
    from forge.ml.train.run import Run

__all__ = ["NonFinite"]

_SHOWN: Final = 8


class NonFinite(Callback):
    """Looks at each step's loss and gradient norm, which are known anyway, before the weights are changed.

    When one is not finite the step is repeated with every module watched; the first that gives a bad number, and the examples
    of its batch, are told and written to ``nonfinite-step<N>.json`` in the run's folder. Then the run stops with its weights
    as they were (`action` stop), leaves this update out (skip; at most `most_skipped` in a row), or goes on (warn).
    """

    def __init__(self, action: Literal["stop", "skip", "warn"] = "stop", most_skipped: int = 10) -> None:
        if action not in ("stop", "skip", "warn"):
            raise ValueError(f"action is stop, skip or warn, not {action!r}")
        if most_skipped < 1:
            raise ValueError(f"most_skipped is at least 1, not {most_skipped}")
        self.action, self.most_skipped = action, most_skipped
        self.skipped = 0

    def begin(self, run: Run) -> None:
        """Refuse to leave out what cannot be left out."""
        if self.action == "skip" and run.fused is not None:
            raise RunError(
                "with fuse_optim_with_backward each update is made before its gradients are known, so none can be skipped",
                hint="set callback.nonfinite.action to stop or warn, or fuse_optim_with_backward to false",
            )

    def before_update(self, run: Run, loss: float, grad_norm: float | None) -> bool:
        """Whether the update may be made."""
        # A scaler of float16 tries ever larger gradients on purpose, and leaves out the updates that are not finite itself.
        watched = grad_norm if run.precision.scaler is None else None
        if math.isfinite(loss) and (watched is None or math.isfinite(watched)):
            self.skipped = 0
            return True
        what = f"the loss is {loss}" if not math.isfinite(loss) else f"the norm of the gradients is {watched}"
        fault = self._fault(run)
        found = _report(run, fault, what + _blamed(run), loss, grad_norm)
        self.skipped += 1
        if self.action == "stop" or (self.action == "skip" and self.skipped > self.most_skipped):
            raise RunError(f"step {run.step + 1}: {found}", hint=_advice(run, fault))
        run.progress.say(f"step {run.step + 1}: {found}; {self._meaning}")
        return self.action == "warn"

    @property
    def _meaning(self) -> str:
        return "the update is left out" if self.action == "skip" else "the update is made all the same"

    def _fault(self, run: Run) -> Fault:
        from forge.ml.evaluate.perplexity import evaluate  # only when something is wrong
        from forge.ml.train.callbacks.first_bad import first_bad, first_bad_of_all

        if not run.world.alone:
            return first_bad_of_all(
                run.model,
                run.world,
                lambda: evaluate(run.loss, run.batch, run.device, run.precision, run.world)["eval_loss"],
            )

        def total(batch: Batch) -> Any:
            with run.precision.autocast(), run.memory():
                return run.loss.total(batch.to(run.device))

        scaler = run.precision.scaler
        scale = (1.0 if scaler is None else float(scaler.get_scale())) / sum(batch.trained for batch in run.batch)
        return first_bad(run.model, run.batch, total, scale)

    def state(self) -> dict[str, Any]:
        """How many updates in a row were left out."""
        return {"skipped": self.skipped}

    def load(self, state: dict[str, Any]) -> None:
        """Continue from what `state` gave."""
        self.skipped = state["skipped"]


def _report(run: Run, fault: Fault, what: str, loss: float, grad_norm: float | None) -> str:
    batches = run.batch if fault.batch is None else [run.batch[fault.batch]]
    examples = [list(pair) for batch in batches for pair in batch.ids]
    process = "" if run.world.alone else f"-rank{run.world.rank}"
    path = os.path.join(run.folder, f"nonfinite-step{run.step + 1}{process}.json")
    facts = {
        "step": run.step + 1,
        "what": what,
        "loss": loss,
        "grad_norm": grad_norm,
        "lr": run.schedule.get_last_lr()[0],
        "fault": asdict(fault),
        "fault_text": str(fault),
        "examples": examples,  # of the bad batch; of the whole step when no batch is known to be the one
        "input_ids": [batch.input_ids.tolist() for batch in batches],
    }
    write_atomic(path, json.dumps(plain(facts)) + "\n")
    names = list(dict.fromkeys(f"{source}:{example}" for source, example in examples))
    shown, more = ", ".join(names[:_SHOWN]), f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    of = f", in batch {fault.batch + 1} of {len(run.batch)}" if fault.batch is not None else ""
    return f"{what}; {fault}{of}; examples {shown or 'unknown'}{more}; see {path}"


def _blamed(run: Run) -> str:
    """Which of several processes had the loss that is none; all of them ask."""
    if run.world.alone:
        return ""
    own = not math.isfinite(run.own_loss)
    if own:
        own_heart().blame()
    flags = run.world.sum([float(own and rank == run.world.rank) for rank in range(run.world.size)])
    ranks = ", ".join(str(rank) for rank, flag in enumerate(flags) if flag)
    return f", from rank {ranks}" if ranks else ""


def _advice(run: Run, fault: Fault) -> str:
    if fault.kind == "weight" and run.step == 0:
        return "the model came with it: look at the folder that its weights are read from"
    if fault.kind == "weight":
        return "an earlier update has made it so: go back to a checkpoint, and lower the learning rate"
    if run.fused is not None:
        return (
            "fuse_optim_with_backward has made the update already: go back to a checkpoint, and lower the learning rate"
        )
    return (
        "the weights are as they were before this step: lower the learning rate, look at the examples, "
        "or leave such updates out with callback.nonfinite.action=skip"
    )
