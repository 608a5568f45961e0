"""How long a step takes, roughly: to say which of two layouts is the quicker one, not to promise a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from forge.plan.arithmetic import step_operations
from forge.plan.traffic import traffic
from forge.plan.waiting import computed_again, waits

if TYPE_CHECKING:
    from forge.plan.setup import TrainingSetup

__all__ = ["Hardware", "step_seconds"]


# A matrix product of so many rows reaches half of what a long one does.
_HALF: Final = 128


@dataclass(frozen=True)
class Hardware:
    """What is taken for granted of the machines: operations a second that a process reaches, and bytes a second of its lines."""

    operations: float = 400e12
    inside: float = 200e9
    between: float = 25e9
    latency: float = 20e-6
    per_node: int = 8


def step_seconds(setup: TrainingSetup, hardware: Hardware) -> float:
    """Seconds of a step: computing, waiting in the pipeline, and of what is sent the part that computing cannot hide."""
    again = computed_again(setup, range(setup.shape.layers)) / setup.shape.layers
    computing = step_operations(setup) * (1 + again / 3) / setup.ranks / hardware.operations / _use(setup)
    waiting = computing / (1 - waits(setup)) - computing
    exposed = hidden = 0.0
    for one in traffic(setup, hardware.per_node):
        speed = hardware.inside if one.link == "inside a node" else hardware.between
        seconds = one.size / speed + one.messages * hardware.latency
        if one.dimension == "tp":
            exposed += seconds  # the next product waits for it
        else:
            hidden += seconds
    return computing + waiting + exposed + max(hidden - 0.8 * computing, 0.1 * hidden)


def _use(setup: TrainingSetup) -> float:
    """How much of its units a process can use: less with few rows, and with matrices cut small."""
    return setup.tokens / (setup.tokens + _HALF) / (1 + 0.03 * (setup.layout.tp - 1))
