"""Tensor parallelism: the matrices of a model divided over processes, as the model's own plan says.

The model's own code runs, on heads and widths that are a part of the whole. Every parameter becomes a spread tensor on the dimension
``tp`` of the mesh, divided or the same everywhere, so that weights, optimizers and checkpoints know one kind only.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import nn
from torch.distributed.tensor import distribute_tensor

from forge.base.errors import ModelError, RunError
from forge.ml.loss.head import causal_model
from forge.ml.memory.blocks import Forward, blocks, wrap_forward
from forge.ml.parallel.pieces import local
from forge.ml.parallel.tensor_collectives import Peers, collected, gathered, handed_out, sliced
from forge.ml.parallel.tensor_layers import Cuts, apply_style, finish_module
from forge.ml.parallel.tensor_plan import read_plan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from forge.ml.parallel.tensor_plan import Region, TensorPlan
    from forge.ml.parallel.world import World

__all__ = ["LayerChain", "TensorCut", "cut_matrices"]

_SEQUENCE: Final = 1
_HEAD_COUNTS: Final = (
    *("num_heads", "num_attention_heads", "n_heads", "n_head"),
    *("num_key_value_heads", "num_kv_heads", "n_kv_heads"),
)


@dataclass(frozen=True, slots=True)
class TensorCut:
    """How a model was divided; it goes with the model as its attribute ``tensor_cut``."""

    peers: Peers
    sequence_parallel: bool
    loss_parallel: bool

    @property
    def row_multiple(self) -> int:
        """What the tokens of a row have to be a multiple of."""
        return self.peers.size if self.sequence_parallel else 1

    def whole_rows(self, tensor: torch.Tensor | None) -> torch.Tensor | None:
        """All rows of a parameter of which each process has some, to be used everywhere alike."""
        return None if tensor is None else gathered(local(tensor), 0, self.peers)


@dataclass(frozen=True, slots=True)
class LayerChain:
    """Layers that run one after another, and whether they are the first and the last of the model.

    What comes to the first layer of all and goes from the last is whole. Between stages of a pipeline go pieces, where there are any.
    """

    layers: Sequence[nn.Module]
    first: bool = True
    last: bool = True


def cut_matrices(model: nn.Module, chains: Sequence[LayerChain], world: World) -> None:
    """Divide the matrices of an empty model over the processes of the dimension ``tp``."""
    layout = world.layout
    if world.mesh is None or layout.tp == 1:
        return
    # It warns of every weight that is gathered over two dimensions, which a saved model needs.
    logging.getLogger("torch.distributed.tensor._redistribute").setLevel(logging.ERROR)
    causal = causal_model(model)
    mesh = world.mesh["tp"]
    cut = TensorCut(Peers.of(mesh), layout.sequence_parallel, layout.loss_parallel)
    cuts = Cuts(cut.peers, causal.config.get_text_config())
    plan = read_plan(causal, blocks(model))
    _refuse(causal, plan, cut)
    for each in plan.outside:
        apply_style(each, cuts)
    for region in plan.regions:
        _cut_region(region, cuts, cut)
    if cut.sequence_parallel:
        for chain in chains:
            _cut_sequence(chain, plan, cuts)
    for module in list(model.modules()):
        finish_module(module, cuts)
    for region in plan.regions:
        _count_own_heads(region, cut.peers.size)
    _spread(model, cuts, mesh)
    causal.tensor_cut = cut


def _refuse(causal: nn.Module, plan: TensorPlan, cut: TensorCut) -> None:
    for region in plan.regions:
        _refuse_parts_of_heads(region, cut.peers.size)
    trunk = getattr(causal, "base_model", causal)
    if getattr(trunk, "position_bias", None) is not None:
        raise RunError(
            f"{type(causal).__name__} adds a bias for each head to its scores, and heads are divided over processes",
            hint="choose a layout without tensor parallelism, such as parallel=fsdp, or other positions",
        )
    head = causal.get_output_embeddings()
    styles = {id(each.module): each.style for each in plan.outside if each.leaf is None}
    divided = type(head) is nn.Linear and styles.get(id(head)) in ("colwise", "colwise_gather_output")
    if cut.loss_parallel and head is not None and not divided:
        raise RunError(
            f"loss_parallel divides the head by its rows, and that of {type(causal).__name__} cannot be",
            hint="set parallel.loss_parallel=false",
        )


def _refuse_parts_of_heads(region: Region, tp: int) -> None:
    width = getattr(region.module, "head_dim", None)
    if not isinstance(width, int):
        return
    for each in region.styled:
        features = getattr(each.module, "out_features", None)
        if each.style != "colwise" or features is None or features % width:
            continue
        heads = features // width
        if heads % tp:
            kind = f"{heads} heads" if heads != 1 else "1 head"
            why = "each process needs whole heads of its own"
            raise RunError(
                f"tp={tp} does not divide the {kind} of {each.name}: {why}",
                hint=f"choose a tp that divides {heads}, or parallel=fsdp",
            )


def _cut_region(region: Region, cuts: Cuts, cut: TensorCut) -> None:
    for each in region.styled:
        apply_style(each, cuts, hoisted=region.simple, on_pieces=region.simple and cut.sequence_parallel)
    if cut.sequence_parallel:
        _refuse_no_region(region)
        cuts.put_around(region.module, partial(_with_whole_sequence, region.simple, cuts.peers))
    elif region.simple:
        cuts.put_around(region.module, partial(_with_copy, cuts.peers))


def _refuse_no_region(region: Region) -> None:
    if any(each.module is region.module and each.style not in ("whole", "experts") for each in region.styled):
        raise RunError(
            f"sequence_parallel needs a module around the matrices of {region.name}, and they stand in the layer itself",
            hint="set parallel.sequence_parallel=false",
        )


def _with_copy(peers: Peers, inner: Forward) -> Forward:
    """Copy what comes into a region once, in the place of once for each of its matrices."""

    def forward(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        args, kwargs = _changed_first(args, kwargs, lambda hidden: handed_out(hidden, peers))
        return inner(self, *args, **kwargs)

    return forward


def _with_whole_sequence(simple: bool, peers: Peers, inner: Forward) -> Forward:  # noqa: FBT001 - bound before it is called
    """Give a region whole sequences, and take pieces of them from it."""
    enter = collected if simple else gathered

    def forward(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        args, kwargs = _changed_first(args, kwargs, lambda hidden: enter(hidden, _SEQUENCE, peers))
        answer = inner(self, *args, **kwargs)
        # One way out of a simple region is a matrix cut by rows, which gives pieces already.
        return answer if simple else _changed_answer(answer, lambda hidden: sliced(hidden, _SEQUENCE, peers))

    return forward


def _changed_first(
    args: tuple[Any, ...], kwargs: dict[str, Any], change: Callable[[torch.Tensor], torch.Tensor]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of a module with its hidden states changed; ModelError where others are trained through, too."""
    others = dict(kwargs)
    if args:
        hidden, rest = args[0], args[1:]
    else:
        hidden, rest = others.pop("hidden_states"), ()
    if any(value.requires_grad for value in _tensors((*rest, *others.values()))):
        raise ModelError(
            "a part of a layer learns through more than its hidden states, which tensor parallelism does not know of",
            hint="choose a layout without tensor parallelism, such as parallel=fsdp",
        )
    changed = change(hidden)
    return ((changed, *rest), others) if args else ((), {"hidden_states": changed, **others})


def _changed_answer(answer: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    return (change(answer[0]), *answer[1:]) if isinstance(answer, tuple) else change(answer)


def _tensors(values: Sequence[Any]) -> Iterator[torch.Tensor]:
    for value in values:
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, (tuple, list)):
            yield from _tensors(value)


def _cut_sequence(chain: LayerChain, plan: TensorPlan, cuts: Cuts) -> None:
    """Between regions each process has a piece of every sequence, from the first layer to the last."""
    regions = {id(region.module) for region in plan.regions}
    for layer in chain.layers:
        inside = {
            id(parameter) for child in layer.children() if id(child) in regions for parameter in child.parameters()
        }
        # Norms see a part of the tokens only.
        cuts.partial.update(id(parameter) for parameter in layer.parameters() if id(parameter) not in inside)
    if chain.first:
        wrap_forward(chain.layers[0], partial(_entering, cuts.peers))
    if chain.last:
        wrap_forward(chain.layers[-1], partial(_leaving, cuts.peers))


def _entering(peers: Peers, inner: Forward) -> Forward:
    def forward(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        args, kwargs = _changed_first(args, kwargs, lambda hidden: sliced(hidden, _SEQUENCE, peers))
        return inner(self, *args, **kwargs)

    return forward


def _leaving(peers: Peers, inner: Forward) -> Forward:
    return lambda self, *args, **kwargs: _changed_answer(
        inner(self, *args, **kwargs), lambda hidden: gathered(hidden, _SEQUENCE, peers)
    )


def _count_own_heads(region: Region, tp: int) -> None:
    """Let a module that counts its heads count those that it has."""
    if "colwise" not in region.styles or not hasattr(region.module, "head_dim"):
        return
    for name in _HEAD_COUNTS:
        count = region.module.__dict__.get(name)
        if isinstance(count, int) and count % tp == 0:
            setattr(region.module, name, count // tp)


def _spread(model: nn.Module, cuts: Cuts, mesh: Any) -> None:
    made: dict[int, nn.Parameter] = {}
    for module in model.modules():
        own = module._parameters  # noqa: SLF001 - to put another object in its place
        for leaf, parameter in own.items():
            if parameter is None:
                continue
            if id(parameter) not in made:
                spread = distribute_tensor(parameter.detach(), mesh, [cuts.placement(parameter)], src_data_rank=None)
                made[id(parameter)] = nn.Parameter(spread, parameter.requires_grad)
            own[leaf] = made[id(parameter)]
