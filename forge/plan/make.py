"""From what a config says to a plan of its run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from forge.base.sizes import shown_size
from forge.plan.arithmetic import arithmetic
from forge.plan.memory import pipeline_memory
from forge.plan.read import setup_of
from forge.plan.report import RunPlan
from forge.plan.stored_weights import stored_parameters
from forge.plan.traffic import traffic

if TYPE_CHECKING:
    from forge.plan.asked import DeviceKind
    from forge.plan.layout import Layout
    from forge.plan.read import RunReading
    from forge.plan.setup import TrainingSetup
    from forge.plan.shape import ModelShape

__all__ = ["make_plan"]


def make_plan(
    name: str,
    reading: RunReading,
    *,
    layout: Layout,
    ranks: int,
    device: DeviceKind,
    per_node: int | None = None,
    data_tokens: int | None = None,
    sequence_length: int | None = None,
) -> RunPlan:
    """The plan of a run in a layout on so many processes; ValueError says what it cannot be made of.

    A layout that the model does not allow is planned as far as it goes, and what stands in its way is in the plan.
    """
    refused = reading.refusals(layout=layout, ranks=ranks, device=device, sequence_length=sequence_length)
    setup = setup_of(reading, layout=layout, ranks=ranks, device=device, sequence_length=sequence_length)
    settings = reading.settings
    run = arithmetic(
        setup,
        max_steps=_number(settings.get("max_steps"), -1),
        epochs=_number(settings.get("num_train_epochs"), 1.0),
        data_tokens=data_tokens,
    )
    sent = traffic(setup, per_node or reading.per_node)
    return RunPlan(name, setup, refused, pipeline_memory(setup), sent, run, _notes(reading, setup))


def _number(value: Any, default: Any) -> Any:
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else default


def _held_to(shape: ModelShape, model: Any) -> str:
    """``, which makes 16 % more parameters than its folder holds``: how far the plan of an unknown family is off, where that shows."""
    if not isinstance(model, dict) or isinstance(model.get("config"), dict) or model.get("resize_to") is not None:
        return ""
    held = stored_parameters(str(model.get("path")))
    if held is None:
        return ""
    off = round(100 * (shape.parameters / held - 1))
    return (
        f", which makes {abs(off)} % {'more' if off > 0 else 'fewer'} parameters than its folder holds" if off else ""
    )


def _notes(reading: RunReading, setup: TrainingSetup) -> list[str]:
    """What a reader should know of how the figures came about."""
    shape, settings = setup.shape, reading.settings
    found = []
    if not shape.family.known:
        found.append(
            f"{shape.model_type or 'this model'} is not known to forge: its layers are taken for those of a llama"
            + _held_to(shape, settings.get("model"))
        )
    if reading.sequence_length is None:
        found.append(
            f"the data does not say how long its rows are: {setup.sequence_length:,} tokens are assumed (--seq)"
        )
    if settings.get("mixed_precision") == "auto":
        found.append(f"mixed_precision auto is taken for {setup.precision}")
    if setup.device == "cuda":
        found.append(f"what CUDA itself takes, about {shown_size(0.8e9)}, comes on top")
    return found
