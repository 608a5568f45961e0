"""What goes between the processes of a run in one step, by dimension of the mesh and by the kind of line it takes.

Counted is what a process sends when each collective goes round a ring: of n processes that gather or sum into shares each sends
(n - 1) / n of the whole, of those that sum twice as much, and a message is as long as it is. Losses and norms, a few bytes, are left out.
"""

from __future__ import annotations

from itertools import chain
from math import gcd
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from forge.plan.activations import checkpointed_layers, layer_input_bytes
from forge.plan.matrices import adapter_matrices, embedding_matrices, layer_matrices, numbers
from forge.plan.regions import layer_regions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from forge.plan.setup import TrainingSetup

__all__ = ["Link", "SentBytes", "links", "traffic"]

Link = Literal["inside a node", "between nodes"]

_FULL: Final = 4
_EXCHANGES: Final = 4  # of each attention, one way
_LOSS_NUMBERS: Final = 3  # of each token, where the loss is divided
_INNER_FIRST: Final = ("tp", "cp", "dp_shard", "dp_replicate", "pp")


class SentBytes(NamedTuple):
    """The most that a process sends in one step along a dimension: for what, how many bytes, in how many messages, over which line."""

    dimension: str
    what: str
    size: float
    messages: int
    link: Link


class _Sent(NamedTuple):
    dimension: str
    what: str
    size: float
    messages: int


class _Place:
    """What the process at a place of the pipeline has of the model; sizes are bytes."""

    def __init__(self, setup: TrainingSetup, place: int) -> None:
        stages = setup.stages
        self.setup, self.place = setup, place
        self.stages = setup.layout.stages_of(place)
        self.layers = [layer for stage in self.stages for layer in stages[stage]]
        self.first, self.last = 0 in self.stages, len(stages) - 1 in self.stages
        self.marks = checkpointed_layers(setup)
        self.again = sum(self.marks[layer] for layer in self.layers)
        adapters = 0
        if setup.adapter_rank is not None:
            adapters = _FULL * sum(numbers(adapter_matrices(setup, layer)) for layer in self.layers)
        sizes = {layer: numbers(layer_matrices(setup, layer)) for layer in self.layers}
        weights = sum(sizes.values()) * setup.weight_size
        ends = numbers(embedding_matrices(setup, first=self.first, last=self.last)) * setup.weight_size
        gathered = sum(size * setup.gathered_size(layer) for layer, size in sizes.items())
        if setup.adapter_rank is not None:  # float32, and cast with the matrices beside them
            for layer in self.layers:
                gathered += numbers(adapter_matrices(setup, layer)) * (2 if setup.gathers_cast(layer) else _FULL)
        self.inside, self.ends = gathered, ends
        self.trained = adapters if setup.adapter_rank is not None else weights + ends


def links(setup: TrainingSetup, per_node: int) -> dict[str, Link]:
    """The line that each dimension of the mesh takes: neighbours in the inner ones sit in one node."""
    found: dict[str, Link] = {}
    reach = 1
    for name in _INNER_FIRST:
        reach *= getattr(setup.layout, name)
        found[name] = "inside a node" if reach <= per_node else "between nodes"
    return found


def traffic(setup: TrainingSetup, per_node: int) -> list[SentBytes]:
    """What goes along each dimension in one step from the process that sends most along it, ring algorithms assumed."""
    over = links(setup, per_node)
    found: dict[str, list[_Sent]] = {}
    for place in range(setup.layout.pp):
        at = _Place(setup, place)
        sent = [one for one in chain(_shares(at), _copies(at), _tensor(at), _context(at), _pipeline(at)) if one.size]
        for dimension in dict.fromkeys(one.dimension for one in sent):
            own = [one for one in sent if one.dimension == dimension]
            found[dimension] = max(found.get(dimension, []), own, key=_size)
    return [SentBytes(*one, over[one.dimension]) for own in found.values() for one in own]


def _size(sent: list[_Sent]) -> float:
    return sum(one.size for one in sent)


def _shares(at: _Place) -> Iterator[_Sent]:
    """Weights are gathered and gradients summed layer by layer; what is around the layers stays whole until the backward pass is over."""
    setup, layout, share = at.setup, at.setup.layout, _sharing(at.setup)
    if share == 1:
        return
    part = (share - 1) / share
    # Where weights are not divided they stay whole for all batches of a step.
    times = setup.passes if layout.shards_weights else 1
    twice = 2 if layout.shards_weights and layout.reshard_after_forward else 1
    groups = len(at.layers) * twice + 1
    # A pipeline sums its gradients after the last microbatch, the first stage after the last batch.
    sums = setup.passes if layout.pp == 1 and layout.shards_gradients else 1
    gathered = (at.inside * twice + at.ends) * part * times
    yield _Sent("dp_shard", "weights, gathered layer by layer", gathered, groups * times)
    yield _Sent("dp_shard", "gradients, summed into shares", at.trained * part * sums, (len(at.layers) + 1) * sums)


def _sharing(setup: TrainingSetup) -> int:
    """How many share one copy: pieces of a sequence do so as well."""
    return setup.layout.dp_shard * setup.layout.cp if setup.layout.shards_state else 1


def _copies(at: _Place) -> Iterator[_Sent]:
    """Once a step, after its last batch."""
    layout, share = at.setup.layout, _sharing(at.setup)
    copies = layout.dp_replicate * layout.dp_shard * layout.cp // share
    size = 2 * at.trained / share * (copies - 1) / copies
    yield _Sent("dp_replicate", "gradients, summed", size, len(at.layers) + 1)


def _tensor(at: _Place) -> Iterator[_Sent]:
    """A checkpoint computes a layer again up to its last matrix, whose sum it has no use for."""
    setup, layout = at.setup, at.setup.layout
    if layout.tp == 1:
        return
    pieces, layers = layout.sequence_parallel, len(at.layers)
    tokens = setup.tokens * setup.passes * (layout.tp - 1) / layout.tp  # of each of which one process sends so much
    messages = (8 if pieces else 4) * layers + (3 if pieces else 1) * at.again
    size = tokens * sum(_layer_talk(setup, layer, again=at.marks[layer]) for layer in at.layers)
    yield _Sent("tp", "hidden states, twice a layer and pass", size, messages * setup.passes)
    around = (at.first + at.last) if pieces else 0  # into pieces before the first layer of all, whole after the last
    size = tokens * setup.shape.hidden * setup.weight_size * (around + 2 * at.first)
    yield _Sent("tp", "hidden states, around the layers", size, (around + at.first) * setup.passes)
    if pieces and setup.adapter_rank is None:
        norms = setup.shape.family.norms * layers * setup.passes  # each process has seen some of the tokens
        yield _Sent("tp", "gradients of norms", _norm_bytes(setup) * norms, norms)
    if at.last:
        yield _tensor_loss(at, tokens)


def _layer_talk(setup: TrainingSetup, layer: int, *, again: bool) -> float:
    attention, network = layer_regions(setup, layer)
    return sum(attention) + sum(network) + again * (attention.before + attention.behind + network.before)


def _norm_bytes(setup: TrainingSetup) -> float:
    return 2 * setup.shape.norm_parameters * setup.weight_size * (setup.layout.tp - 1) / setup.layout.tp


def _tensor_loss(at: _Place, tokens: float) -> _Sent:
    """With a loss that is divided the gradient of the hidden states is summed, else the head or its answer is gathered."""
    setup, shape, part = at.setup, at.setup.shape, (at.setup.layout.tp - 1) / at.setup.layout.tp
    summed = 2 * tokens * shape.hidden * setup.weight_size
    if setup.layout.loss_parallel:
        size = summed + 2 * _FULL * _LOSS_NUMBERS * tokens
        return _Sent("tp", "gradients of hidden states, and parts of losses", size, 3 * setup.passes)
    if setup.whole_logits:
        return _Sent("tp", "logits", summed + tokens * shape.vocab * setup.compute_size, 2 * setup.passes)
    return _Sent(
        "tp", "rows of the head", shape.vocab * shape.hidden * setup.weight_size * part * setup.passes, setup.passes
    )


def _context(at: _Place) -> Iterator[_Sent]:
    setup, layout, shape = at.setup, at.setup.layout, at.setup.shape
    if layout.cp == 1:
        return
    # Whoever has fewer heads of keys and values than there are pieces sends each of them several times.
    copies = layout.cp // gcd(max(1, shape.kv_heads // layout.tp), layout.cp)
    widths = 2 * shape.queries + 2 * shape.keys * copies  # queries and answers, keys and values
    each = setup.tokens * widths / layout.tp * setup.compute_size * (layout.cp - 1) / layout.cp
    times = setup.passes * (2 * len(at.layers) + at.again)
    yield _Sent("cp", "queries, keys, values and answers", each * times, _EXCHANGES * times)


def _pipeline(at: _Place) -> Iterator[_Sent]:
    """To the stage after each and to the one before it, where that is in another process."""
    setup, layout = at.setup, at.setup.layout
    if layout.pp == 1:
        return
    last = len(setup.stages) - 1
    neighbours = [other for stage in at.stages for other in (stage - 1, stage + 1) if 0 <= other <= last]
    times = setup.passes * sum(other not in at.stages for other in neighbours)
    yield _Sent("pp", "hidden states and their gradients", layer_input_bytes(setup) * times, times)
    if setup.shape.tied and at.first != at.last and setup.adapter_rank is None:
        shape = setup.shape
        shared = shape.vocab * shape.hidden * setup.weight_size / layout.tp / _sharing(setup)
        yield _Sent("pp", "gradients of what both ends share", shared, 1)
