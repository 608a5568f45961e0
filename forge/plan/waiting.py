"""How long the stages of a model take, and how long its pipeline waits for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from forge.plan.activations import checkpointed_layers
from forge.plan.pipeline import StageCost, bubble_share, timeline
from forge.plan.stages import layer_costs

if TYPE_CHECKING:
    from forge.plan.pipeline import StageWork
    from forge.plan.setup import TrainingSetup

__all__ = ["computed_again", "played", "splits", "stage_costs", "waits"]

# What selective checkpoints compute again, of a forward pass.
_CHEAP: Final = 0.2


def waits(setup: TrainingSetup) -> float:
    """The share of time that the processes of a pipeline wait when its schedule is played with the stages of the model."""
    return bubble_share(setup.whole_step, stage_costs(setup))


def played(setup: TrainingSetup) -> list[list[StageWork]]:
    """What each process of the pipeline does in a step and when, with the stages of the model."""
    return timeline(setup.whole_step, stage_costs(setup))


def splits(setup: TrainingSetup) -> bool:
    """Whether backward passes are made in two halves."""
    return setup.layout.splits(again=bool(setup.checkpointing) or setup.offload)


def stage_costs(setup: TrainingSetup) -> tuple[StageCost, ...]:
    """How long each stage takes, in units of a forward pass of its share of the layers.

    The loss makes the gradients of the head on the way forward; an adapter has hardly any of its own. Of the first stage nobody
    wants the gradients of its inputs, so a backward pass in two halves is made there with the second one.
    """
    _, head = layer_costs(setup.shape, setup.sequence_length)
    unit = setup.shape.layers / len(setup.stages)
    costs = [_of_layers(setup, stage) for stage in setup.stages]
    costs[-1] = costs[-1]._replace(forward=costs[-1].forward + head * (2 if setup.adapter_rank is not None else 3))
    if splits(setup):
        costs[0] = StageCost(costs[0].forward, 0.0, costs[0].inputs + costs[0].weights)
    return tuple(StageCost(*(each / unit for each in cost)) for cost in costs)


def computed_again(setup: TrainingSetup, layers: range) -> float:
    """How many forward passes of a layer the backward pass repeats."""
    share = _CHEAP if setup.checkpointing == "selective" else 1.0
    again = checkpointed_layers(setup)
    return share * sum(again[layer] for layer in layers)


def _of_layers(setup: TrainingSetup, layers: range) -> StageCost:
    count = float(len(layers))
    weights = count if setup.adapter_rank is None else 0.0
    if splits(setup):
        return StageCost(count, count, weights)
    return StageCost(count, count + weights + computed_again(setup, layers), 0.0)
