"""`torch.compile` layer by layer: the layers of a decoder are alike, so one compilation serves all of them."""

from __future__ import annotations

import os
import shutil
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch

from forge.base.errors import ToolError
from forge.ml.memory.blocks import Forward, blocks, holds_cache, wrap_forward

if TYPE_CHECKING:
    from torch import nn

__all__ = ["CompileChoice", "choose_compile", "compile_blocks", "seconds_saved"]

# Of one kind of layer, forward and backward, once for the first shape and once for all others: 10 to 25 s on two idle cores.
_COMPILE_SECONDS = 45.0
# What compiled layers save of a step at least: a choice made for the user must not make a run longer.
_SAVED = 0.1
# Matrix products by the second and core (CPU) or device: only the order of magnitude matters.
_CPU_CORE_FLOPS, _DEVICE_FLOPS = 5.0e10, 2.0e14
_FLOPS_OF_A_WEIGHT = 6  # a multiplication and an addition, forward once and backward twice
# A layer with its own branch, such as every second one with a window, is compiled too; more kinds than these are not.
_KINDS = 8
_COMPILERS = ("g++", "clang++", "c++")


class CompileChoice(NamedTuple):
    """Whether to compile, and a sentence for the log."""

    compiled: bool
    described: str


def compile_blocks(model: nn.Module, mode: str | None = None) -> int:
    """Compile the forward of each decoder layer, whatever is wrapped around it already, and return how many they are.

    Put checkpoints on first: what is compiled here is the checkpointed layer. The first length of a batch is compiled
    for itself, the second for every other. Results differ from those of uncompiled layers in the last bits, because sums
    are taken in another order. For the backward pass a compiled layer keeps what matrices and attention made, and makes all
    else again.
    """
    layers = blocks(model)
    _require_compiler(next(layers[0].parameters()).device)
    # Counted for the function that all layers share, over all of them.
    limit = torch._dynamo.config.recompile_limit  # noqa: SLF001 - its public place
    torch._dynamo.config.recompile_limit = max(limit, 2 * _KINDS)  # noqa: SLF001
    _make_again_what_is_cheap()
    for layer in layers:
        wrap_forward(layer, partial(_compiled, mode))
    return len(layers)


def choose_compile(
    how: bool | Literal["auto"],  # noqa: FBT001 - the value of a setting
    device: torch.device | str,
    *,
    steps: int | None,
    parameters: int,
    tokens: int,
) -> CompileChoice:
    """Whether to compile a run of so many steps of so many tokens: `auto` does where it surely makes the run shorter."""
    if how not in (True, False, "auto"):
        raise ValueError(f"torch_compile is auto, true or false, not {how!r}")
    if how != "auto":
        return CompileChoice(bool(how), "layers are compiled" if how else "layers are not compiled")
    if not _has_compiler(torch.device(device)):
        return CompileChoice(compiled=False, described="layers are not compiled: there is no C++ compiler")
    if steps is None:
        return CompileChoice(compiled=False, described="layers are not compiled: nobody knows how long the run is")
    saved = seconds_saved(device, steps=steps, parameters=parameters, tokens=tokens)
    pays = saved > _COMPILE_SECONDS
    gain = f"about {saved:,.0f} s" if saved >= 1 else "less than a second"
    why = f"it takes about {_COMPILE_SECONDS:.0f} s and saves {gain} of this run"
    return CompileChoice(pays, f"layers are {'' if pays else 'not '}compiled: {why}")


def seconds_saved(device: torch.device | str, *, steps: int, parameters: int, tokens: int) -> float:
    """About how many seconds compiled layers save of a run, from the arithmetic it consists of."""
    speed = _CPU_CORE_FLOPS * torch.get_num_threads() if torch.device(device).type == "cpu" else _DEVICE_FLOPS
    return _SAVED * steps * _FLOPS_OF_A_WEIGHT * parameters * tokens / speed


def _make_again_what_is_cheap() -> None:
    """Let the compiler's choice of what to keep forgo the rules by which it spares passes over memory at the price of room."""
    # Its public place; nobody needs it who does not compile.
    from torch._functorch import config as keeping

    keeping.ban_recompute_used_far_apart = False
    keeping.ban_recompute_long_fusible_chains = False
    keeping.ban_recompute_materialized_backward = False


def _compiled(mode: str | None, inner: Forward) -> Forward:
    quick = torch.compile(inner, mode=mode)

    def forward(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        # A cache is another object in each layer and another length at each token: generation is not compiled.
        return (inner if holds_cache(args, kwargs) else quick)(self, *args, **kwargs)

    return forward


def _has_compiler(device: torch.device) -> bool:
    # On a GPU the kernels are Triton's, which brings its own compiler; what starts them still has to be built.
    own = os.environ.get("CXX") if device.type == "cpu" else os.environ.get("CC")
    names = (own,) if own else _COMPILERS if device.type == "cpu" else ("cc", "gcc", "clang")
    return any(shutil.which(name) for name in names)


def _require_compiler(device: torch.device) -> None:
    if _has_compiler(device):
        return
    name = "C++" if device.type == "cpu" else "C"
    raise ToolError(
        f"torch_compile needs a {name} compiler, and none was found",
        hint="install g++ (or set CXX to a compiler), or set torch_compile to false",
    )
