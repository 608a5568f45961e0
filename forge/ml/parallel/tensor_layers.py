"""Layers whose matrices are divided: each runs the model's own code on the pieces that this process has.

Parameters are spread tensors (`DTensor`), so that a checkpoint, an optimizer or a norm finds whole ones; the code of a layer sees plain
tensors in their place while it runs. What one process tells the others is put around that, where the style says.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import nn
from torch.distributed.tensor import DTensor, Placement, Replicate, Shard
from torch.distributed.tensor.placement_types import _StridedShard
from torch.nn import functional

from forge.base.errors import ModelError
from forge.ml.memory.blocks import Forward, wrap_forward
from forge.ml.parallel.tensor_collectives import gathered, handed_out, scattered, sliced, summed

if TYPE_CHECKING:
    from collections.abc import Callable

    from forge.ml.parallel.tensor_collectives import Peers
    from forge.ml.parallel.tensor_plan import Styled

__all__ = ["Cuts", "apply_style", "finish_module"]

_SEQUENCE: Final = 1
_EXPERTS: Final = 3
_PACKED: Final = 2


@dataclass
class Cuts:
    """What becomes of parameters and modules, by their identity; a parameter that is not in here is the same everywhere."""

    peers: Peers
    config: Any
    placements: dict[int, Placement] = field(default_factory=dict)
    partial: set[int] = field(default_factory=set)  # the same everywhere, and each process has a part of the gradient
    without_bias: set[int] = field(default_factory=set)  # modules whose bias is added to the sum, and not to its parts
    around: dict[int, list[Callable[[Forward], Forward]]] = field(default_factory=dict)  # what comes around a module

    def cut(self, name: str, parameter: nn.Parameter | None, dim: int, *, packed: bool = False) -> None:
        """Divide a parameter along a dimension; ``packed`` ones are two halves, of each of which a process has a piece."""
        if parameter is None:
            return
        pieces = self.peers.size * (_PACKED if packed else 1)
        if parameter.shape[dim] % pieces:
            raise ModelError(
                f"{name} has a side of {parameter.shape[dim]:,}, which does not divide into {pieces} equal pieces",
                hint=f"choose a tp that divides it, in the place of {self.peers.size}",
            )
        dim %= parameter.ndim
        placement = _StridedShard(dim, split_factor=_PACKED) if packed else Shard(dim)
        if self.placements.setdefault(id(parameter), placement) != placement:
            raise ModelError(
                f"{name} is tied to a parameter that is divided in another way", hint="choose parallel=fsdp"
            )

    def put_around(self, module: nn.Module, around: Callable[[Forward], Forward]) -> None:
        """Put something around a module that runs on its pieces."""
        self.around.setdefault(id(module), []).append(around)

    def placement(self, parameter: nn.Parameter) -> Placement:
        """Which piece of a parameter this process has."""
        return self.placements.get(id(parameter), Replicate())


def apply_style(each: Styled, cuts: Cuts, *, hoisted: bool = False, on_pieces: bool = False) -> None:
    """Divide what the plan names, and put around it what its processes tell each other.

    With ``hoisted`` the region around it has handed out what comes in; ``on_pieces`` says that what goes out is cut by the sequence.
    """
    if each.leaf is not None:
        _cut_parameter(each, cuts)
        return
    style = _STYLES.get(each.style)
    if style is not None:
        style(each, cuts, hoisted, on_pieces)


def finish_module(module: nn.Module, cuts: Cuts) -> None:
    """Let the code of a module find plain tensors, the pieces of this process, and put around it what its style asks for."""
    if isinstance(module, (nn.ParameterDict, nn.ParameterList)) and any(True for _ in module.parameters()):
        raise ModelError(
            "parameters in a list or dict, such as those of an adapter on an embedding, cannot be divided",
            hint="let the adapter be LoRA on linear layers, or choose a layout without tensor parallelism, such as parallel=fsdp",
        )
    if any(each is not None for each in module._parameters.values()):  # noqa: SLF001 - its own ones only
        _run_on_pieces(module, cuts)
    for child in module.children():
        if isinstance(child, nn.Conv1d):  # nobody calls it: kernels are given its weights
            wrap_forward(module, _exchanged(_partial_leaves(child, cuts), cuts.peers, child))
    for around in cuts.around.get(id(module), ()):
        wrap_forward(module, around)


def _run_on_pieces(module: nn.Module, cuts: Cuts) -> None:
    partial = _partial_leaves(module, cuts)
    if type(module) is nn.Linear:
        wrap_forward(module, _linear(partial, cuts.peers, with_bias=id(module) not in cuts.without_bias))
    else:
        pieces = _seen if _asks_for_attributes_only(module) else _exchanged
        wrap_forward(module, pieces(partial, cuts.peers))


def _partial_leaves(module: nn.Module, cuts: Cuts) -> frozenset[str]:
    own = module._parameters.items()  # noqa: SLF001 - as above
    return frozenset(leaf for leaf, each in own if id(each) in cuts.partial)


def _piece(module: nn.Module, leaf: str, partial: frozenset[str], peers: Peers) -> torch.Tensor | None:
    parameter = module._parameters[leaf]  # noqa: SLF001 - the parameter itself, whatever has been put in its place
    if not isinstance(parameter, DTensor):
        return parameter
    piece = parameter.to_local()
    return handed_out(piece, peers) if leaf in partial else piece


def _linear(partial: frozenset[str], peers: Peers, *, with_bias: bool) -> Callable[[Forward], Forward]:
    def around(_: Forward) -> Forward:
        def forward(self: nn.Module, hidden: torch.Tensor) -> torch.Tensor:
            bias = _piece(self, "bias", partial, peers) if with_bias else None
            return functional.linear(hidden, _piece(self, "weight", partial, peers), bias)

        return forward

    return around


class _Seen:
    """A module as its own code sees it, with plain pieces where it has spread parameters."""

    def __init__(self, module: nn.Module, pieces: dict[str, torch.Tensor | None]) -> None:
        self.module = module
        self.pieces = pieces

    def __getattr__(self, name: str) -> Any:
        return self.pieces[name] if name in self.pieces else getattr(self.module, name)


def _seen(partial: frozenset[str], peers: Peers) -> Callable[[Forward], Forward]:
    """For code that asks for nothing but attributes: no module is changed, which a compiled checkpoint would not allow."""

    def around(inner: Forward) -> Forward:
        def forward(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
            pieces = {leaf: _piece(self, leaf, partial, peers) for leaf in self._parameters}
            return inner(_Seen(self, pieces), *args, **kwargs)

        return forward

    return around


def _exchanged(partial: frozenset[str], peers: Peers, owner: nn.Module | None = None) -> Callable[[Forward], Forward]:
    """For all other code: the pieces stand in the module itself while it runs, or in the part of it that has them."""

    def around(inner: Forward) -> Forward:
        def forward(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
            module = owner or self
            own = module._parameters  # noqa: SLF001 - as above
            kept = dict(own)
            for leaf in kept:
                own[leaf] = _piece(module, leaf, partial, peers)
            try:
                return inner(self, *args, **kwargs)
            finally:
                own.update(kept)

        return forward

    return around


def _asks_for_attributes_only(module: nn.Module) -> bool:
    """Whether the code of a module needs no more of it than attributes: it has no parts, no methods of its own and no parent's code."""
    kind = type(module)
    own = [name for name, value in vars(kind).items() if callable(value) and not name.startswith("__")]
    code = getattr(kind.forward, "__code__", None)
    plain = code is not None and "__class__" not in code.co_freevars and "forward" not in module.__dict__
    return plain and not any(True for _ in module.children()) and set(own) <= {"forward", "extra_repr", "_norm"}


@dataclass(frozen=True)
class _Linears:
    """A linear layer, and what an adapter has put beside it."""

    name: str
    base: nn.Linear
    down: list[nn.Linear]  # from what comes in to a few numbers
    up: list[nn.Linear]  # from these to what goes out

    @classmethod
    def of(cls, each: Styled) -> _Linears:
        module = each.module
        if type(module) is nn.Linear:
            return cls(each.name, module, [], [])
        base, down, up = (getattr(module, name, None) for name in ("base_layer", "lora_A", "lora_B"))
        inner = [*(down or {}).values(), *(up or {}).values()] if base is not None else []
        known = {id(part) for part in (base, *inner)}
        owners = [part for part in module.modules() if any(True for _ in part.parameters(recurse=False))]
        if type(base) is not nn.Linear or any(type(part) is not nn.Linear or id(part) not in known for part in owners):
            raise ModelError(
                f"{each.name} is a {type(module).__name__}, and only linear layers, plain or with LoRA, are divided",
                hint="choose a layout without tensor parallelism, such as parallel=fsdp",
            )
        return cls(each.name, base, list(down.values()), list(up.values()))


def _by_columns(each: Styled, cuts: Cuts, hoisted: bool, _: bool) -> None:  # noqa: FBT001 - all styles are called alike
    linears = _Linears.of(each)
    packed = each.style == "packed_colwise"
    for part in (linears.base, *linears.up):
        cuts.cut(f"{linears.name}.weight", part.weight, 0, packed=packed)
        cuts.cut(f"{linears.name}.bias", part.bias, 0, packed=packed)
    cuts.partial.update(id(part.weight) for part in linears.down)
    gather = each.style == "colwise_gather_output"
    peers = cuts.peers

    def around(inner: Forward) -> Forward:
        def forward(self: nn.Module, hidden: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
            answer = inner(self, hidden if hoisted else handed_out(hidden, peers), *args, **kwargs)
            return gathered(answer, -1, peers) if gather else answer

        return forward

    if gather or not hoisted:
        cuts.put_around(each.module, around)


def _by_rows(each: Styled, cuts: Cuts, _: bool, on_pieces: bool) -> None:  # noqa: FBT001 - as above
    linears = _Linears.of(each)
    for part in (linears.base, *linears.down):
        cuts.cut(f"{linears.name}.weight", part.weight, 1)
    if any(part.bias is not None for part in (*linears.down, *linears.up)):
        raise ModelError(f"the adapter of {linears.name} has a bias", hint="write lora_bias: false in the adapter")
    cuts.partial.update(id(part.weight) for part in linears.up)
    base, peers, split = linears.base, cuts.peers, each.style == "rowwise_split_input"
    cuts.without_bias.add(id(base))
    if on_pieces and base.bias is not None:
        cuts.partial.add(id(base.bias))
    partial = frozenset({"bias"} if on_pieces else ())

    def around(inner: Forward) -> Forward:
        def forward(self: nn.Module, hidden: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
            part = inner(self, sliced(hidden, -1, peers) if split else hidden, *args, **kwargs)
            whole = scattered(part, _SEQUENCE, peers) if on_pieces else summed(part, peers)
            own = self if base is self else self.base_layer
            bias = _piece(own, "bias", partial, peers)
            return whole if bias is None else whole + bias.to(whole.dtype)

        return forward

    cuts.put_around(each.module, around)


def _embedding(each: Styled, cuts: Cuts, _: bool, __: bool) -> None:  # noqa: FBT001 - as above
    module, peers = each.module, cuts.peers
    if not isinstance(module, nn.Embedding):
        raise ModelError(
            f"{each.name} is a {type(module).__name__}, and no embedding with an adapter is divided",
            hint="leave it out of the adapter, or choose parallel=fsdp",
        )
    if each.style == "embedding_colwise":
        cuts.cut(f"{each.name}.weight", module.weight, 1)
        cuts.put_around(module, _afterward(lambda answer: gathered(answer, -1, peers)))
        return
    cuts.cut(f"{each.name}.weight", module.weight, 0)
    rows = module.weight.shape[0] // peers.size
    first = peers.rank * rows
    if module.padding_idx is not None:
        mine = 0 <= module.padding_idx - first < rows
        module.padding_idx = module.padding_idx - first if mine else None

    def around(inner: Forward) -> Forward:
        def forward(self: nn.Module, tokens: torch.Tensor) -> torch.Tensor:
            place = tokens - first
            elsewhere = (place < 0) | (place >= rows)
            found = inner(self, place.masked_fill(elsewhere, 0))
            return summed(found.masked_fill(elsewhere.unsqueeze(-1), 0.0), peers)

        return forward

    cuts.put_around(module, around)


def _gradient_summed(each: Styled, cuts: Cuts, _: bool, __: bool) -> None:  # noqa: FBT001 - as above
    cuts.partial.update(id(parameter) for parameter in each.module.parameters())


def _experts(each: Styled, cuts: Cuts, _: bool, __: bool) -> None:  # noqa: FBT001 - as above
    peers = cuts.peers

    def around(inner: Forward) -> Forward:
        def forward(self: nn.Module, *args: Any, **kwargs: Any) -> torch.Tensor:
            args = tuple(_copied_if_trained(value, peers) for value in args)
            kwargs = {name: _copied_if_trained(value, peers) for name, value in kwargs.items()}
            return summed(inner(self, *args, **kwargs), peers)

        return forward

    cuts.put_around(each.module, around)


def _copied_if_trained(value: Any, peers: Peers) -> Any:
    return handed_out(value, peers) if isinstance(value, torch.Tensor) and value.is_floating_point() else value


def _identity_expert(each: Styled, cuts: Cuts, _: bool, __: bool) -> None:  # noqa: FBT001 - as above
    # Its answer is added up with those of the experts, once for each process.
    size = cuts.peers.size
    cuts.put_around(each.module, _afterward(lambda answer: answer / size))


def _latent_keys(each: Styled, cuts: Cuts, _: bool, __: bool) -> None:  # noqa: FBT001 - as above
    # The rotated part goes to each process's own heads, the rest through a matrix that is cut by columns.
    peers = cuts.peers
    width = getattr(cuts.config, "qk_rope_head_dim", None)
    if width is None:
        raise ModelError(f"{each.name} does not tell how wide its rotated part is", hint="choose parallel=fsdp")

    def parted(answer: torch.Tensor) -> torch.Tensor:
        rest, rotated = answer.split([answer.shape[-1] - width, width], -1)
        return torch.cat([rest, handed_out(rotated, peers)], -1)

    cuts.put_around(each.module, _afterward(parted))


def _output_summed(each: Styled, cuts: Cuts, _: bool, __: bool) -> None:  # noqa: FBT001 - as above
    peers = cuts.peers
    cuts.put_around(each.module, _afterward(lambda answer: summed(answer, peers)))


def _afterward(change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Forward], Forward]:
    def around(inner: Forward) -> Forward:
        return lambda self, *args, **kwargs: change(inner(self, *args, **kwargs))

    return around


def _cut_parameter(each: Styled, cuts: Cuts) -> None:
    parameter = each.module._parameters[each.leaf]  # noqa: SLF001 - it is named by its place in here
    if parameter is None or each.style == "whole":
        return
    if each.style == "gradient_summed":
        cuts.partial.add(id(parameter))
    elif each.style in ("colwise", "packed_colwise") and parameter.ndim in (1, _EXPERTS):
        cuts.cut(each.name, parameter, max(parameter.ndim - 2, 0), packed=each.style == "packed_colwise")
    elif each.style in ("rowwise", "packed_rowwise") and parameter.ndim == _EXPERTS:
        cuts.cut(each.name, parameter, -1, packed=each.style == "packed_rowwise")
    else:
        raise ModelError(
            f"{each.name} has {parameter.ndim} dimensions, for which the style {each.style!r} is not understood",
            hint="choose a layout without tensor parallelism, such as parallel=fsdp",
        )


_STYLES: Final = {
    "colwise": _by_columns,
    "colwise_gather_output": _by_columns,
    "packed_colwise": _by_columns,
    "rowwise": _by_rows,
    "rowwise_split_input": _by_rows,
    "embedding_rowwise": _embedding,
    "embedding_colwise": _embedding,
    "gradient_summed": _gradient_summed,
    "experts": _experts,
    "identity_expert": _identity_expert,
    "latent_keys": _latent_keys,
    "output_summed": _output_summed,
}
