"""What a checkpoint holds beside the model, and how a run continues from it exactly."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch

from forge.base.errors import CheckpointError, ResumeError
from forge.base.free_space import free_space
from forge.base.origin import shown_path
from forge.base.sizes import shown_size
from forge.ml.checkpoint.state import random_state, set_random_state
from forge.ml.optim.schedule import advance
from forge.ml.parallel.pieces import is_spread, piece_of
from forge.ml.train.base_weights import check_base_weights

if TYPE_CHECKING:
    from forge.ml.train.run import Run
    from forge.ml.train.trainer import Trainer

__all__ = ["check_room", "collect", "restore"]


def check_room(settings: Trainer, folder: str, model: Any) -> None:
    """Refuse a disk that has no room even for the trained weights; a checkpoint holds more than these."""
    needed = sum(parameter.nbytes for parameter in model.parameters() if parameter.requires_grad)
    free = free_space(folder)
    if free is not None and needed > free and settings.on_save_error == "fail":
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
        "base": dict(run.base),
        "optimizer": run.optimizer.state_dict(),
        "scaler": None if run.precision.scaler is None else run.precision.scaler.state_dict(),
        "loader": run.loader.state(),
        "random": random_state(),
        "changes": run.changes.state(),
        "callbacks": [{"kind": _kind(callback), "state": callback.state()} for callback in run.callbacks],
    }


def restore(run: Run, state: dict[str, Any]) -> None:
    """Put a run, whose model is restored, where it was when `collect` was asked."""
    check_base_weights(state.get("base", run.base), run.base, run.model_path)
    for part in ("counts", "best"):
        for name, value in state[part].items():
            setattr(getattr(run, part), name, value)
    _load_optimizer(run, state["optimizer"])
    # Again from the first step: exact for a schedule of any kind, and one changed since holds from here on.
    advance(run.schedule, run.step)
    if run.precision.scaler is not None and state["scaler"] is not None:
        run.precision.scaler.load_state_dict(state["scaler"])
    run.loader.load(state["loader"])
    _load_callbacks(run, state["callbacks"])
    if "changes" in state:
        run.changes.load(run, state["changes"])
    set_random_state(state["random"])


def _load_callbacks(run: Run, saved: list[dict[str, Any]]) -> None:
    """Each gets what one of its kind has left; of several of a kind the first that of the first, and so on."""
    left: dict[str, list[Any]] = {}
    for one in saved:
        left.setdefault(one["kind"], []).append(one["state"])
    for callback in run.callbacks:
        if kept := left.get(_kind(callback)):
            callback.load(kept.pop(0))


def _load_optimizer(run: Run, state: dict[str, Any]) -> None:
    """What the optimizer remembers of each parameter; how it learns is what the config says now."""
    options = [
        {name: value for name, value in group.items() if name != "params"} for group in run.optimizer.param_groups
    ]
    try:
        found = _of_these_parameters(run, state)
        _check_remembered(run, found["state"])
        run.optimizer.load_state_dict(found)
    except (ValueError, KeyError) as error:
        raise ResumeError(
            f"the state of the optimizer does not fit: {error}",
            hint="resume with the optimizer and the trained parameters that the checkpoint was made with",
        ) from error
    for group, own in zip(run.optimizer.param_groups, options, strict=True):
        group.update(own)


def _check_remembered(run: Run, state: dict[int, dict[str, Any]]) -> None:
    """ValueError where the optimizer, as it is set now, would look for what the saved one has not remembered.

    A few numbers in the place of each parameter tell what it looks for. Optimizers of others are not asked: they may be compiled for
    each shape, or want larger ones.
    """
    make = run.settings.optimizer
    if not getattr(make, "func", make).__module__.startswith(("torch.", "forge.")):
        return
    probe = make([_with_stand_ins(group) for group in run.optimizer.param_groups])
    probe.step()
    wanted = probe.state_dict()["state"]
    for number, kept in state.items():
        if missing := sorted(wanted.get(number, {}).keys() - kept.keys()):
            raise ValueError(f"as it is set now it looks for {', '.join(missing)}, which was not saved")


def _with_stand_ins(group: dict[str, Any]) -> dict[str, Any]:
    options = {key: value for key, value in group.items() if key not in {"params", "param_names"}}
    tiny = [_stand_in(one) for one in group["params"]]
    return {**options, "params": [*zip(group["param_names"], tiny, strict=True)] if "param_names" in group else tiny}


def _stand_in(parameter: torch.Tensor) -> torch.nn.Parameter:
    """A tiny parameter with a gradient, of as many dimensions and the same type."""
    made = torch.nn.Parameter(torch.zeros((2,) * parameter.ndim, dtype=parameter.dtype, device=parameter.device))
    made.grad = torch.zeros_like(made)
    return made


def _of_these_parameters(run: Run, state: dict[str, Any]) -> dict[str, Any]:
    """The state of the parameters that this process has, by their names; of one that is spread over processes, its piece."""
    own = run.optimizer.state_dict()["param_groups"]
    names, saved = _names(own), _names(state["param_groups"])
    if names is None or saved is None:
        if run.world.layout.pp > 1:
            raise ValueError(f"{type(run.optimizer).__name__} keeps no names of the parameters of each stage")
        names = saved = list(range(sum(len(group["params"]) for group in state["param_groups"])))
    if missing := set(names) - set(saved):
        raise ValueError(f"it knows nothing of {len(missing)} parameters that are trained ({min(missing)})")
    if run.world.layout.pp == 1 and len(names) != len(saved):
        raise ValueError(f"it is of {len(saved)} parameters, and {len(names)} are trained")
    numbers = [number for group in state["param_groups"] for number in group["params"]]
    kept = {name: state["state"].get(number) for name, number in zip(saved, numbers, strict=True)}
    parameters = [parameter for group in run.optimizer.param_groups for parameter in group["params"]]
    found = {
        number: {key: _like(value, parameter, alone=run.world.alone) for key, value in kept[name].items()}
        for number, (name, parameter) in enumerate(zip(names, parameters, strict=True))
        if kept[name] is not None
    }
    return {**state, "state": found, "param_groups": own}


def _names(groups: list[dict[str, Any]]) -> list[Any] | None:
    """The names of the parameters in the groups of an optimizer, if it keeps them."""
    if not all("param_names" in group for group in groups):
        return None
    return [name for group in groups for name in group["param_names"]]


def _like(value: Any, parameter: Any, *, alone: bool) -> Any:
    """What the optimizer remembers of a parameter, and of one in pieces a piece.

    Among several processes a copy: what they read is a file of which each uses a part, and which may go.
    """
    if getattr(value, "shape", None) == parameter.shape and is_spread(parameter):
        return piece_of(value, parameter)
    return value if alone or not isinstance(value, torch.Tensor) else _copied(value)


def _copied(value: torch.Tensor) -> torch.Tensor:
    """A copy; of a tensor that is made of others (four bits), which may know no copies of itself, of those."""
    if not hasattr(value, "__tensor_flatten__"):
        return value.clone()
    names, context = value.__tensor_flatten__()
    parts = {name: getattr(value, name).clone() for name in names}
    return type(value).__tensor_unflatten__(parts, context, value.shape, value.stride())


def _kind(callback: object) -> str:
    return f"{type(callback).__module__}.{type(callback).__qualname__}"
