"""What a checkpoint holds beside the model, and how a run continues from it exactly."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from forge.base.errors import ResumeError
from forge.ml.checkpoint.state import random_state, set_random_state

if TYPE_CHECKING:
    from forge.ml.train.run import Run

__all__ = ["collect", "restore"]


def collect(run: Run) -> dict[str, Any]:
    """Everything that decides how the run goes on, but the model."""
    return {
        "counts": asdict(run.counts),
        "best": asdict(run.best),
        "optimizer": run.optimizer.state_dict(),
        "schedule": run.schedule.state_dict(),
        "scaler": None if run.precision.scaler is None else run.precision.scaler.state_dict(),
        "loader": run.loader.state(),
        "random": random_state(),
        "callbacks": [{"kind": _kind(callback), "state": callback.state()} for callback in run.callbacks],
    }


def restore(run: Run, state: dict[str, Any]) -> None:
    """Put a run, whose model is restored, where it was when `collect` was asked."""
    for part in ("counts", "best"):
        for name, value in state[part].items():
            setattr(getattr(run, part), name, value)
    _load_optimizer(run, state["optimizer"])
    run.schedule.load_state_dict(state["schedule"])
    if run.precision.scaler is not None and state["scaler"] is not None:
        run.precision.scaler.load_state_dict(state["scaler"])
    run.loader.load(state["loader"])
    for callback in run.callbacks:
        kept = next((one["state"] for one in state["callbacks"] if one["kind"] == _kind(callback)), None)
        if kept is not None:
            callback.load(kept)
    set_random_state(state["random"])


def _load_optimizer(run: Run, state: dict[str, Any]) -> None:
    """The optimizer's state; learning rates are the schedule's, which a changed config may have changed."""
    try:
        run.optimizer.load_state_dict(state)
    except (ValueError, KeyError) as error:
        raise ResumeError(
            f"the state of the optimizer does not fit: {error}",
            hint="resume with the optimizer and the trained parameters that the checkpoint was made with",
        ) from error


def _kind(callback: object) -> str:
    return f"{type(callback).__module__}.{type(callback).__qualname__}"
