"""The layouts that every family is trained in, and what of these is possible."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from cases import BATCH, FAMILIES, Case, chosen

from forge.plan.read import read_run

if TYPE_CHECKING:
    from pathlib import Path


_FEW, _LAYERS = 2, 4  # processes, and layers that the models have as they are made


class Placed(NamedTuple):
    """A layout and the processes that it is for."""

    processes: int
    layout: tuple[str, ...]
    stages: int = 1


def _data(name: str, processes: int, **degrees: int) -> Placed:
    return Placed(processes, (f"parallel={name}", *(f"parallel.{key}={value}" for key, value in degrees.items())))


def _pipeline(name: str, places: int, microbatches: int = BATCH, processes: int = 0, **degrees: int) -> Placed:
    stages = places * (2 if name in {"pp_i1f1b", "pp_bfs", "pp_zb", "pp_zbv", "pp_dualpipe"} else 1)
    more = {"pp": places, "microbatches": microbatches, **degrees}
    layout = (f"parallel={name}", *(f"parallel.{key}={value}" for key, value in more.items()))
    return Placed(processes or places, layout, stages)


LAYOUTS = {
    **{f"ddp {count}": _data("ddp", count, dp_replicate=count) for count in (2, 4, 8)},
    **{f"zero1 {count}": _data("zero1", count, dp_shard=count) for count in (2, 4, 8)},
    **{f"zero2 {count}": _data("zero2", count, dp_shard=count) for count in (2, 4, 8)},
    **{f"fsdp {count}": _data("fsdp", count, dp_shard=count) for count in (2, 4, 8)},
    "hsdp 2x2": _data("hsdp", 4, dp_replicate=2, dp_shard=2),
    "hsdp 2x4": _data("hsdp", 8, dp_replicate=2, dp_shard=4),
    "hsdp 4x2": _data("hsdp", 8, dp_replicate=4, dp_shard=2),
    **{f"cp {count}": _data("cp", count, cp=count) for count in (2, 4)},
    "cp 2, ddp 2": _data("cp", 4, cp=2, dp_replicate=2),
    "cp 2, fsdp 2": _data("cp_fsdp", 4, cp=2, dp_shard=2),
    "cp 4, fsdp 2": _data("cp_fsdp", 8, cp=4, dp_shard=2),
    "tp 2": _data("tp", 2),
    "tp 4": _data("tp", 4, tp=4),
    "tp 2, ddp 2": _data("tp", 4, dp_replicate=2),
    "tp 2, fsdp 2": _data("fsdp_tp", 4, dp_shard=2),
    "tp 2, fsdp 4": _data("fsdp_tp", 8, dp_shard=4),
    "tp 2, hsdp 2x2": _data("hsdp_tp", 8, dp_replicate=2, dp_shard=2),
    "tp 2, cp 2": _data("tp", 4, cp=2),
    **{f"{name} {places}": _pipeline(name, places) for places in (2, 4) for name in ("pp_gpipe", "pp_1f1b")},
    **{
        f"{name} {places}": _pipeline(name, places)
        for places in (2, 4)
        for name in ("pp_i1f1b", "pp_bfs", "pp_zb", "pp_zbv", "pp_dualpipe")
    },
    "pp_1f1b 2, ddp 2": _pipeline("pp_1f1b", 2, 4, 4, dp_replicate=2),
    "pp_1f1b 2, fsdp 2": _pipeline("pp_fsdp", 2, 4, 4, dp_shard=2),
    "pp_1f1b 2, tp 2": _pipeline("pp_tp", 2, 8, 4),
    "pp_1f1b 2, cp 2": _pipeline("pp_1f1b", 2, 8, 4, cp=2),
    "pp_zb 2, fsdp 2": _pipeline("pp_zb", 2, 4, 4, dp_shard=2, zero_stage=3),
    "pp_1f1b 2, fsdp 2, tp 2": _pipeline("pp_fsdp_tp", 2, 4, 8, dp_shard=2),
    "pp_1f1b 4, fsdp 2": _pipeline("pp_fsdp", 4, 4, 8, dp_shard=2),
}


def case_of(family: str, name: str) -> Case:
    """A family in a layout, with a layer for each stage at least.

    Many processes take long for each batch and layer: on more than two the models have two layers, and a step one batch.
    """
    placed = LAYOUTS[name]
    few = placed.processes > _FEW
    layers = max(placed.stages, 2 if few else _LAYERS)
    setting = "n_layer" if family == "gpt2" else "num_hidden_layers"
    depth = () if layers == _LAYERS else (f"model.config.{setting}={layers}",)
    return Case(family, placed.layout, (*depth, *(("trainer.gradient_accumulation_steps=1",) if few else ())))


def refused(project: Path, family: str, name: str) -> list[str]:
    """What stands in the way of a family in a layout; nothing where it trains."""
    placed = LAYOUTS[name]
    handle = chosen(project, case_of(family, name), project / "nowhere", placed.processes)
    drawn = handle.graph
    reading = read_run(drawn.root, "trainer")
    assert reading is not None
    assert reading.layout is not None
    return [refusal.what for refusal in reading.refusals(ranks=placed.processes)]


def table(project: Path) -> str:
    """Families and layouts as a table of Markdown, with the reasons below it."""
    reasons: list[str] = []
    rows = ["| layout | " + " | ".join(FAMILIES) + " |", "|---" * (len(FAMILIES) + 1) + "|"]
    for name in LAYOUTS:
        cells = []
        for family in FAMILIES:
            why = "; ".join(refused(project, family, name))
            if why and why not in reasons:
                reasons.append(why)
            cells.append(f"no ({reasons.index(why) + 1})" if why else "yes")
        rows.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join([*rows, "", *(f"{number}. {reason}" for number, reason in enumerate(reasons, 1))])
