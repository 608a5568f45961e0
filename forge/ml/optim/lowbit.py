"""The state of 8-bit and 4-bit optimizers as plain tensors, so that it can be stored like any other."""

from __future__ import annotations

from typing import Any

import torch

__all__ = ["from_plain", "to_plain"]

_KIND = "lowbit"
_CLASSES = ("OptimState8bit", "OptimState4bit", "OptimStateFp8")


def to_plain(state: Any) -> Any:
    """A copy of a state dict in which each quantized tensor is a mapping of the plain tensors and values it consists of."""
    if isinstance(state, dict):
        return {key: to_plain(value) for key, value in state.items()}
    if isinstance(state, (list, tuple)):
        return type(state)(to_plain(value) for value in state)
    if type(state).__name__ not in _CLASSES:
        return state
    names, attributes = state.__tensor_flatten__()
    tensors = {name: getattr(state, name) for name in names}
    return {_KIND: type(state).__name__, "attributes": [_shown(value) for value in attributes], **tensors}


def from_plain(state: Any) -> Any:
    """The state dict that `to_plain` was given."""
    if isinstance(state, dict) and state.get(_KIND) in _CLASSES:
        return _quantized(state)
    if isinstance(state, dict):
        return {key: from_plain(value) for key, value in state.items()}
    if isinstance(state, (list, tuple)):
        return type(state)(from_plain(value) for value in state)
    return state


def _quantized(parts: dict[str, Any]) -> torch.Tensor:
    from torchao.optim import subclass_4bit, subclass_8bit, subclass_fp8

    modules = (subclass_8bit, subclass_4bit, subclass_fp8)
    kind = next(getattr(module, parts[_KIND]) for module in modules if hasattr(module, parts[_KIND]))
    tensors = {name: value for name, value in parts.items() if name not in (_KIND, "attributes")}
    return kind.__tensor_unflatten__(tensors, [_meant(value) for value in parts["attributes"]])


def _shown(value: Any) -> Any:
    """A value as JSON has it: types as their names, sizes as lists."""
    if isinstance(value, torch.dtype):
        return str(value).removeprefix("torch.")
    return list(value) if isinstance(value, tuple) else value


def _meant(value: Any) -> Any:
    if isinstance(value, str):
        return getattr(torch, value)
    return torch.Size(value) if isinstance(value, list) else value
