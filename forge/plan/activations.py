"""What a layer keeps from its forward pass for its backward pass, in bytes, counted tensor by tensor.

A token leaves in a layer: what each norm saw, what goes into each matrix, the queries, keys, values and result of the attention,
and what the feed-forward network has between its matrices. With checkpoints it leaves the input of the layer alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from forge.plan.setup import TrainingSetup
    from forge.plan.shape import ModelShape

__all__ = [
    "Kept",
    "checkpointed_layers",
    "layer_again_bytes",
    "layer_bytes",
    "layer_input_bytes",
    "layer_work_bytes",
    "tail_bytes",
]

_FULL: Final = 4
_ATTENTION_INPUTS: Final = 3
# A plain network's activation is written out in the families that have one (gelu by its formula).
_WRITTEN_OUT: Final = 4


@dataclass(frozen=True, slots=True)
class Kept:
    """Bytes of a token in one layer: without checkpoints, while it is computed again, what `selective` checkpoints leave, and full ones."""

    whole: float
    again: float
    selective: float
    inputs: float


def checkpointed_layers(setup: TrainingSetup) -> list[bool]:
    """Which of the layers compute their activations again."""
    how = setup.checkpointing
    if how is False:
        return [False] * setup.shape.layers
    period = how if isinstance(how, int) and not isinstance(how, bool) else 1
    return [place % period == period - 1 for place in range(setup.shape.layers)]


def layer_bytes(setup: TrainingSetup, layer: int, *, checkpointed: bool) -> float:
    """What one layer keeps of one forward pass of a process."""
    kept = _kept(setup, layer)
    if not checkpointed:
        return kept.whole * setup.tokens
    return (kept.selective if setup.checkpointing == "selective" else kept.inputs) * setup.tokens


def layer_again_bytes(setup: TrainingSetup, layer: int) -> float:
    """What a checkpointed layer keeps for as long as its gradients are made."""
    return _kept(setup, layer).again * setup.tokens


def layer_input_bytes(setup: TrainingSetup) -> float:
    """The input of a layer, which is also what goes from one stage of a pipeline to the next."""
    shared = setup.layout.tp if setup.layout.sequence_parallel else 1
    return _stream_size(setup) * setup.shape.hidden * setup.tokens / shared


def layer_work_bytes(setup: TrainingSetup, layer: int) -> float:
    """What the backward pass of one layer needs besides: gradients of what is widest in it."""
    shape = setup.shape
    wide = _inner_width(shape, layer) / setup.layout.tp
    return setup.compute_size * setup.tokens * (2 * wide + 2 * shape.hidden)


def tail_bytes(setup: TrainingSetup) -> float:
    """What the last norm and the loss keep: of the norm what it saw, of the loss the gradient of the hidden states."""
    shape = setup.shape
    gradient = setup.compute_size * shape.hidden if not setup.cast else _FULL * shape.hidden
    return (_norm(setup) + gradient) * setup.tokens


def _kept(setup: TrainingSetup, layer: int) -> Kept:
    shape, layout, size = setup.shape, setup.layout, setup.compute_size
    stream = _stream_size(setup) * shape.hidden
    shared = layout.tp if layout.sequence_parallel else 1
    same = _norms(setup) / shared + _attention(setup) / layout.tp
    if shape.dropout:
        same += 2 * (stream if setup.device == "cpu" else shape.hidden)
    whole, again = (
        same + _matrix_inputs(setup, layer, remade=remade) + _network(setup, layer, remade=remade) / layout.tp
        for remade in (setup.compiled or (setup.lean and not (setup.offload and setup.device == "cuda")), False)
    )
    products = shape.queries + 2 * shape.keys + shape.queries + _products(shape, layer)
    selective = stream / shared + size * (products / layout.tp + 2 * shape.hidden / shared) + _sums(shape)
    return Kept(whole, again, selective, stream / shared)


def _stream_size(setup: TrainingSetup) -> int:
    """The bytes of a number between layers: casting leaves them as the weights are."""
    return setup.weight_size


def _norms(setup: TrainingSetup) -> float:
    shape = setup.shape
    found = shape.family.norms * _norm(setup)
    if setup.compiled:
        # Sums are made again: beside the input of the layer there is what a matrix made for a sum, or for a norm behind it.
        made = shape.family.norms // 2 * setup.compute_size * shape.hidden
        found = _stream_size(setup) * shape.hidden + made + shape.family.norms * _statistics(setup)
    if shape.family.qk_norm != "none":
        own = setup.compute_size if setup.compiled or _lean_norms(setup) else _FULL + _own_copy(setup)
        found += own * (shape.queries + shape.keys) + 4 * (shape.heads + shape.kv_heads)
    return found


def _norm(setup: TrainingSetup) -> float:
    """What one norm keeps: what it saw, in float32, and what it made of that before it scales it."""
    hidden, size = setup.shape.hidden, _stream_size(setup)
    family = setup.shape.family
    if _lean_norms(setup):
        return size * hidden + _statistics(setup)
    if family.plain_norm and family.norm_bias:
        return size * hidden + _statistics(setup)
    own = 0 if setup.adapter_rank is not None else _own_copy(setup)
    more = 2 * _FULL if family.plain_norm else _FULL  # one that subtracts the mean keeps the difference too
    return (more + own) * hidden + 4


def _statistics(setup: TrainingSetup) -> int:
    """The numbers that a norm found of each vector: its size, and its mean where that is subtracted."""
    return 2 * _FULL if setup.shape.family.plain_norm else _FULL


def _lean_norms(setup: TrainingSetup) -> bool:
    """Whether norms keep no more than what they saw; those that subtract the mean are the model's own."""
    return setup.lean and not setup.shape.family.plain_norm


def _own_copy(setup: TrainingSetup) -> int:
    return setup.weight_size if setup.precision == "no" else _FULL


def _matrix_inputs(setup: TrainingSetup, layer: int, *, remade: bool) -> float:
    """What goes into the first matrices of the attention and of the network; a cast makes a copy for each of them.

    With ``remade`` what a norm has made is made again by a lean one, but where pieces of it were gathered, or cast for pieces
    of a matrix, and in a compiled layer by any, but where pieces were gathered.
    """
    shape = setup.shape
    into_attention = 1 if shape.family.fused else _ATTENTION_INPUTS
    into_network = 1 if shape.family.fused or not shape.family.gated else 2
    copies = into_attention + into_network if setup.cast else (1 if shape.family.norms == 1 else 2)
    found = float(setup.compute_size * shape.hidden * copies)
    gathered = setup.layout.tp > 1 and setup.layout.sequence_parallel
    other = gathered or (setup.layout.tp > 1 and setup.cast)
    if remade and not gathered and setup.compiled:
        return _FULL * (setup.adapter_rank or 0) * (into_attention + into_network + 2)
    if remade and _lean_norms(setup) and not other:
        found = 0.0
    if setup.adapter_rank is not None:
        found = _adapter_inputs(setup, into_attention + into_network, layer)
    return found


def _adapter_inputs(setup: TrainingSetup, inputs: int, layer: int) -> float:
    """An adapter is float32: each of its matrices keeps a copy of what goes into it, unless that is float32 already."""
    shape, rank = setup.shape, setup.adapter_rank or 0
    if setup.compute_size == _FULL:
        return _FULL * (2 * shape.hidden + rank * (inputs + 2))
    size = _FULL if setup.precision == "no" else setup.compute_size
    wide = shape.queries + _inner_width(shape, layer)  # what goes into the last matrix of each
    return size * (inputs * shape.hidden + wide) + _FULL * rank * (inputs + 2)


def _attention(setup: TrainingSetup) -> float:
    shape, size = setup.shape, setup.compute_size
    found = size * (2 * shape.queries + 2 * shape.keys) + _sums(shape)
    if shape.family.fused and not shape.family.learned_positions:
        # The values lie in one tensor with what the queries and keys were.
        found += size * (shape.queries + shape.keys)
        if shape.partly_rotated or not (setup.lean or setup.compiled):
            # Rotated queries are put together anew, in an order that makes a copy of what comes of them for the next matrix.
            found += size * shape.queries
    if setup.scores:
        caps = 1 if shape.family.soft_caps else 0
        look = setup.sequence_length
        again = size if setup.compiled else _FULL + (size if size != _FULL else 0) + caps * size
        found += shape.heads * look * again
    return found


def _sums(shape: ModelShape) -> float:
    return 4.0 * shape.heads


def _network(setup: TrainingSetup, layer: int, *, remade: bool) -> float:
    shape, size = setup.shape, setup.compute_size
    inner = _inner_width(shape, layer)
    if _has_experts(shape, layer):
        # What goes to each expert (in a compiled layer it is gathered again), and what comes back before it is weighed.
        ways, widths = (1, 2) if setup.compiled else (2, 4)
        return (ways * shape.experts_per_token * shape.hidden + widths * inner) * size + 2 * _FULL * shape.experts
    if shape.family.gated:
        return (2 if remade else 3 if setup.compiled or setup.lean else 4) * inner * size
    return (1 if setup.compiled else 1 + _WRITTEN_OUT) * inner * size


def _products(shape: ModelShape, layer: int) -> int:
    return (2 if shape.family.gated else 1) * _inner_width(shape, layer)


def _inner_width(shape: ModelShape, layer: int) -> int:
    if _has_experts(shape, layer):
        return shape.experts_per_token * shape.expert_ffn + shape.shared_ffn
    return shape.ffn


def _has_experts(shape: ModelShape, layer: int) -> bool:
    return bool(shape.experts) and layer >= shape.dense_layers
