"""A plan as text for people and as plain data for programs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from forge.base.sizes import shown_size
from forge.plan.amounts import shown_count
from forge.plan.layout import SPLITTING
from forge.plan.pipeline import bubble_formula
from forge.plan.waiting import splits, waits

if TYPE_CHECKING:
    from collections.abc import Sequence

    from forge.plan.arithmetic import RunArithmetic
    from forge.plan.fit import Fitting
    from forge.plan.memory import RankMemory
    from forge.plan.refusal import Refusal
    from forge.plan.setup import TrainingSetup
    from forge.plan.traffic import SentBytes

__all__ = ["RunPlan", "fit_text", "fitting_data", "plan_data", "plan_text"]

_PARTS: Final = (
    ("weights", "weights"),
    ("gradients", "gradients"),
    ("optimizer state", "optimizer"),
    ("activations", "activations"),
    ("loss and logits", "logits"),
    ("gathered weights", "gathered"),
    ("peak, forward", "forward"),
    ("peak, backward", "backward"),
    ("peak, optimizer step", "step"),
    ("peak", "peak"),
    ("in host memory", "host"),
)
_WIDEST: Final = 8
_MOST_SHOWN: Final = 10


@dataclass(frozen=True)
class RunPlan:
    """Everything that is known of a run before it begins."""

    name: str
    setup: TrainingSetup
    refused: Sequence[Refusal]
    memory: Sequence[RankMemory]
    sent: Sequence[SentBytes]
    run: RunArithmetic
    notes: Sequence[str] = ()


def plan_text(plan: RunPlan) -> str:
    """The plan as text."""
    setup = plan.setup
    lines = [_headline(plan), f"layout: {_layout_text(setup)}"]
    lines += [f"cannot be: {refusal}" for refusal in plan.refused]
    lines += ["", *_run_lines(plan.run, setup), "", *_memory_lines(plan.memory)]
    if setup.layout.pp > 1:
        formula, share = bubble_formula(setup.whole_step)
        lines += [
            "",
            f"pipeline waits {share:.1%} of the time ({formula}); {waits(setup):.1%} with the stages of this model",
        ]
        if setup.layout.pp_schedule in SPLITTING and not splits(setup):
            lines += ["backward passes stay whole: layers are computed again, or their weights are in pieces"]
        lines += [f"layers of the stages: {' '.join(str(len(stage)) for stage in setup.stages)}"]
    lines += ["", *_traffic_lines(plan.sent)]
    return "\n".join([*lines, *plan.notes])


def plan_data(plan: RunPlan) -> dict[str, Any]:
    """The plan as plain data; sizes are bytes."""
    setup = plan.setup
    formula, share = bubble_formula(setup.whole_step)
    return {
        "config": plan.name,
        "model": setup.shape.model_type,
        "parameters": setup.shape.parameters,
        "ranks": setup.ranks,
        "device": setup.device,
        "layout": asdict(setup.layout),
        "legal": not plan.refused,
        "refusals": [refusal._asdict() for refusal in plan.refused],
        "run": asdict(plan.run),
        "peak": max(memory.peak for memory in plan.memory),
        "memory": [asdict(memory) | {"peak": memory.peak} for memory in plan.memory],
        "bubble": {"formula": formula, "share": share, "played": waits(setup)},
        "stages": [len(stage) for stage in setup.stages],
        "traffic": [one._asdict() for one in plan.sent],
        "notes": list(plan.notes),
    }


def fit_text(found: Sequence[Fitting], room: float, ranks: int, most: int = _MOST_SHOWN) -> str:
    """The layouts that fit, each as a line of overrides behind its figures."""
    if not found:
        return f"no layout fits {_processes(ranks)} of {shown_size(room)}: more processes, a smaller model or an adapter may"
    best = found[0].tokens_per_second
    rows = [("peak", "waits", "speed", "overrides")]
    for one in found[:most]:
        speed = f"{one.tokens_per_second / best:.2f}"
        rows.append((shown_size(one.peak), f"{one.bubble:.0%}", speed, one.overrides or "as it is"))
    head = f"{len(found)} layouts fit {_processes(ranks)} of {shown_size(room)}, the quickest first"
    return "\n".join([head, "", *_columns(rows, left_last=True)])


def fitting_data(found: Sequence[Fitting]) -> list[dict[str, Any]]:
    """The layouts that fit as plain data; the speed is an estimate in tokens a second."""
    return [
        {
            "overrides": one.overrides,
            "layout": asdict(one.setup.layout),
            "peak": one.peak,
            "bubble": one.bubble,
            "tokens_per_second": one.tokens_per_second,
        }
        for one in found
    ]


def _headline(plan: RunPlan) -> str:
    setup = plan.setup
    trained = sum(memory.trained for memory in plan.memory) if setup.adapter_rank else setup.shape.parameters
    share = "all trained" if setup.adapter_rank is None else f"{shown_count(trained)} trained in an adapter"
    return f"{plan.name}: {setup.shape.model_type} of {shown_count(setup.shape.parameters)} parameters, {share}"


def _layout_text(setup: TrainingSetup) -> str:
    layout = setup.layout
    degrees = [f"{name}={getattr(layout, name)}" for name in ("pp", "dp_replicate", "dp_shard", "cp", "tp")]
    named = " x ".join(degree for degree in degrees if not degree.endswith("=1")) or "nothing divided"
    more = [f"zero stage {layout.zero_stage}"] if layout.zero_stage else []
    more += [f"{layout.pp_schedule}, {layout.microbatches} microbatches"] if layout.pp > 1 else []
    return ", ".join([f"{_processes(setup.ranks)} on {setup.device}", named, *more])


def _run_lines(run: RunArithmetic, setup: TrainingSetup) -> list[str]:
    factors = f"{setup.batch_size} rows x {setup.sequence_length:,} tokens x {setup.accumulation} accumulated x {setup.replicas} copies"
    lines = [f"step: {factors} = {run.tokens_per_step:,} tokens, {run.operations_per_step / 1e12:,.1f} TFLOP"]
    if run.steps is not None:
        epochs = f", {run.epochs:.2f} epochs of {run.steps_per_epoch:,} steps" if run.epochs is not None else ""
        lines.append(f"run: {run.steps:,} steps{epochs}, {shown_count(run.tokens or 0)} tokens")
    else:
        lines.append("run: by epochs; --tokens N says how long they are")
    return lines


def _memory_lines(memory: Sequence[RankMemory]) -> list[str]:
    shown = _distinct(memory)
    head = ("memory of a process", *(_place_name(places, memory) for places, _ in shown))
    rows = [head, ("layers", *(str(len(one.layers)) for _, one in shown))]
    for name, key in _PARTS:
        sizes = [getattr(one, key) for _, one in shown]
        if any(sizes):
            rows.append((name, *(shown_size(size) for size in sizes)))
    return _columns(rows)


def _distinct(memory: Sequence[RankMemory]) -> list[tuple[list[int], RankMemory]]:
    """Places of the pipeline that need the same, together; of very many the first and the most loaded."""
    groups: dict[tuple[Any, ...], tuple[list[int], RankMemory]] = {}
    for one in memory:
        key = (len(one.layers), one.weights, one.activations, one.peak)
        groups.setdefault(key, ([], one))[0].append(one.place)
    found = list(groups.values())
    if len(found) <= _WIDEST:
        return found
    heaviest = max(found, key=lambda group: group[1].peak)
    return [heaviest, *(group for group in found if group is not heaviest)][:_WIDEST]


def _place_name(places: Sequence[int], memory: Sequence[RankMemory]) -> str:
    if len(places) == len(memory):
        return "each"
    return f"pp {','.join(map(str, places))}"


def _traffic_lines(sent: Sequence[SentBytes]) -> list[str]:
    if not sent:
        return ["nothing is sent between processes"]
    rows = [("sent by a process in a step", "", "size", "messages", "line")]
    rows += [(one.dimension, one.what, shown_size(one.size), f"{one.messages:,}", one.link) for one in sent]
    widths = [max(len(row[place]) for row in rows[1:]) for place in range(2)]
    lines = []
    for dimension, what, size, messages, link in rows:
        first = (
            f"{dimension:<{widths[0] + widths[1] + 2}}"
            if not what
            else f"{dimension:<{widths[0]}}  {what:<{widths[1]}}"
        )
        lines.append(f"{first}  {size:>10}  {messages:>8}  {link}".rstrip())
    return lines


def _columns(rows: Sequence[Sequence[str]], *, left_last: bool = False) -> list[str]:
    """Text to the left, numbers to the right."""
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [row[0].rjust(widths[0]) if left_last else row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        if left_last:
            cells[-1] = row[-1]
        lines.append("  ".join(cells).rstrip())
    return lines


def _processes(count: int) -> str:
    return f"{count} processes" if count != 1 else "one process"
