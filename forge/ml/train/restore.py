"""What a checkpoint holds beside the model, and how a run continues from it exactly."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from forge.base.errors import CheckpointError, ResumeError
from forge.base.origin import shown_path
from forge.base.sizes import shown_size
from forge.ml.checkpoint.manifest import Score
from forge.ml.checkpoint.state import random_state, set_random_state
from forge.ml.models.save import config_files, model_files
from forge.ml.optim.schedule import advance
from forge.ml.parallel.pieces import piece_of, wholes

if TYPE_CHECKING:
    from forge.ml.checkpoint.saver import Saver
    from forge.ml.train.run import Run
    from forge.ml.train.trainer import Trainer

__all__ = ["check_room", "collect", "restore", "save"]

_GRAPH: Final = "state/graph.json"


def save(run: Run, saver: Saver) -> None:
    """Save the run as it is after its last step; it goes on while that is written."""
    counts = run.counts
    held = None if run.world.alone else _on_the_first(run, run.model.state_dict())
    state = collect(run) if run.world.alone else _on_the_first(run, collect(run))
    scored = counts.evaluated_step == run.step and counts.evaluated_loss is not None
    saver.save(
        lambda: [
            *model_files(run.model, held=held),
            *config_files(run.model, run.tokenizer, held=held).items(),
            (_GRAPH, run.graph.encode()),
        ],
        state,
        run.step,
        {"run": run.folder, "epoch": run.epoch, "tokens": counts.tokens},
        score=Score("eval_loss", counts.evaluated_loss) if scored else None,
        best=run.best.step,
    )


def _on_the_first(run: Run, tree: Any) -> Any:
    """What is spread over processes, whole in the first of them; the others help, and keep nothing."""
    return wholes(tree, (lambda tensor: tensor.detach().cpu()) if run.world.first else (lambda _: None))


def check_room(settings: Trainer, folder: str, model: Any) -> None:
    """Refuse a disk that has no room even for the trained weights; a checkpoint holds more than these."""
    needed = sum(parameter.nbytes for parameter in model.parameters() if parameter.requires_grad)
    free = shutil.disk_usage(folder).free
    if needed > free and settings.on_save_error == "fail":
        raise CheckpointError(
            f"{shown_path(folder)} has {shown_size(free)} of free space, and a checkpoint needs more than "
            f"{shown_size(needed)}",
            hint="free some space, write to another place with --output-dir, or save nothing with --save-strategy no",
        )


def collect(run: Run) -> dict[str, Any]:
    """Everything that decides how the run goes on, but the model."""
    return {
        "counts": asdict(run.counts),
        "best": asdict(run.best),
        "optimizer": run.optimizer.state_dict(),
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
    # Again from the first step: exact for a schedule of any kind, and one changed since holds from here on.
    advance(run.schedule, run.step)
    if run.precision.scaler is not None and state["scaler"] is not None:
        run.precision.scaler.load_state_dict(state["scaler"])
    run.loader.load(state["loader"])
    for callback in run.callbacks:
        kept = next((one["state"] for one in state["callbacks"] if one["kind"] == _kind(callback)), None)
        if kept is not None:
            callback.load(kept)
    set_random_state(state["random"])


def _load_optimizer(run: Run, state: dict[str, Any]) -> None:
    """What the optimizer remembers of each parameter; how it learns is what the config says now."""
    options = [
        {name: value for name, value in group.items() if name != "params"} for group in run.optimizer.param_groups
    ]
    try:
        run.optimizer.load_state_dict(state if run.world.alone else _in_pieces(run.optimizer, state))
    except (ValueError, KeyError) as error:
        raise ResumeError(
            f"the state of the optimizer does not fit: {error}",
            hint="resume with the optimizer and the trained parameters that the checkpoint was made with",
        ) from error
    for group, own in zip(run.optimizer.param_groups, options, strict=True):
        group.update(own)


def _in_pieces(optimizer: Any, state: dict[str, Any]) -> dict[str, Any]:
    """The state with what belongs to a parameter that is spread over processes spread like it."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    numbers = [number for group in state["param_groups"] for number in group["params"]]
    if len(numbers) != len(parameters):
        return state  # the optimizer says what does not fit
    spread = dict(state["state"])
    for number, parameter in zip(numbers, parameters, strict=True):
        spread[number] = {
            name: piece_of(value, parameter) if getattr(value, "shape", None) == parameter.shape else value
            for name, value in state["state"].get(number, {}).items()
        }
    return {**state, "state": spread}


def _kind(callback: object) -> str:
    return f"{type(callback).__module__}.{type(callback).__qualname__}"
