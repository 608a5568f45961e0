"""What layouts cost on the CPU: ``python benchmarks/parallel.py``.

Layouts next to torch's own ways to have them, written bare, and next to transformers' Trainer; pipelines next to the idle time that
follows from their schedules; and one to eight processes. A process has one thread, so that two processes have a core each
on the smallest machine. ``--write docs/performance.md`` puts the tables into the section "Layouts".
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

from own_venv import ROOT
from report import NONE, Table, Verdict, machine, ratio_text, with_section
from seats import Contender, take_turns
from train_venvs import FORGE, TRL, ensure

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TypeAlias

    _Pairs: TypeAlias = list[tuple[float, float]]  # the seconds of a step alone, and of one on two processes

_HERE = Path(__file__).resolve().parent
_WORK = _HERE / ".train"
_OVERHEAD, _POINTS = 0.03, 5.0
_LENGTH, _BATCH = 256, 4
_DATA = ("ddp", "fsdp")
# Each with the microbatches of a step, on two places with as many stages as the schedule needs.
_PIPELINES = (("pp_gpipe", 4), ("pp_gpipe", 8), ("pp_1f1b", 4), ("pp_1f1b", 8), ("pp_i1f1b", 8), ("pp_zbv", 8))
_SCHEDULES = {
    "pp_gpipe": "gpipe",
    "pp_1f1b": "1f1b",
    "pp_i1f1b": "interleaved_1f1b",
    "pp_bfs": "looped_bfs",
    "pp_zb": "interleaved_zero_bubble",
    "pp_zbv": "zbv",
    "pp_dualpipe": "dualpipev",
}
_ONE_STAGE = ("pp_gpipe", "pp_1f1b")  # on a place; the others have two
_PLACES = (2, 4, 8)
_HELD_SECONDS, _HELD_LENGTH = 0.1, 32  # of a pass that is held to one length, and the tokens of its rows
_PASSES = ("forward", "backward")  # the parts of a step that are passes
_KEPT = ("trainer.gradient_checkpointing=false",)


class Beside(NamedTuple):
    """A layout, what torch calls its own ways to have it, and the changes of a config for it on two processes, on one and on both.

    The first way is the one that forge is made of, and what it costs is what is allowed; others stand beside it.
    """

    name: str
    torch: tuple[str, ...]
    two: tuple[str, ...]
    one: tuple[str, ...] = ()
    both: tuple[str, ...] = ()
    same_rows: bool = False
    model: str = "10M"

    def on(self, processes: int) -> list[str]:
        """The changes of the config for so many processes."""
        return [*_KEPT, *self.both, *(self.one if processes == 1 else self.two)]


_BESIDE = (
    Beside("ddp", ("DistributedDataParallel",), ("parallel=ddp",)),
    Beside("zero1", ("fully_shard, kept", "ZeroRedundancyOptimizer"), ("parallel=zero1",)),
    Beside("zero2", ("fully_shard, kept",), ("parallel=zero2",)),
    Beside("fsdp", ("fully_shard",), ("parallel=fsdp",)),
    # torch does not clip the gradients of a model of which some parameters are divided and some are not.
    Beside(
        "tp",
        ("parallelize_module",),
        ("parallel=tp",),
        both=("trainer.max_grad_norm=null",),
        same_rows=True,
        model="10 heads",
    ),
    Beside(
        "pp",
        ("Schedule1F1B",),
        ("parallel=pp_1f1b", f"parallel.microbatches={_BATCH}"),
        one=("trainer.per_device_train_batch_size=1", f"trainer.gradient_accumulation_steps={_BATCH}"),
        same_rows=True,
    ),
)


def main() -> None:
    """Measure, print, and write what is asked for."""
    options = _options()
    pythons = {name: ensure(_HERE, name) for name in (FORGE, TRL)}
    _WORK.mkdir(exist_ok=True)
    subprocess.run(
        [
            pythons[FORGE],
            str(_HERE / "train_data.py"),
            str(_WORK),
            "10M",
            "10 heads",
            "even",
            *(f"thin{places}" for places in _PLACES),
        ],
        check=True,
    )
    tables = []
    for name, make in (("beside", _beside), ("pipeline", _pipelines), ("schedules", _schedules), ("scaling", _scaling)):
        if options.only in name:
            tables.append(make(pythons, options))
            print(tables[-1].markdown(), flush=True)
    body = f"{machine()}. A llama of 10M parameters, float32, rows of {_LENGTH} tokens, one thread a process.\n\n"
    body += "\n\n".join(table.markdown() for table in tables)
    if options.write:
        page = Path(options.write)
        page.write_text(with_section(page, "Layouts", body))
    for missed in (missed for table in tables for missed in table.unmet):
        print(f"missed: {missed}", file=sys.stderr)


def _beside(pythons: dict[str, str], options: argparse.Namespace) -> Table:
    """Each contender alone and on two processes; what the second process costs is compared, not the training itself."""
    chosen = [layout for layout in _BESIDE if not options.layouts or layout.name in options.layouts]
    rounds: dict[tuple[str, str], list[_Pairs]] = {}
    for _ in range(options.rounds):
        for layout in chosen:
            turns = _in_turn(pythons[FORGE], options, layout)
            for who in ("forge", *layout.torch):
                pairs = [*zip(turns[f"{who} on 1"], turns[f"{who} on 2"], strict=True)][options.warm_up :]
                rounds.setdefault((who, layout.name), []).append(pairs)
                print(f"{layout.name}: {who} {_shown(pairs)}", file=sys.stderr, flush=True)
        if any(layout.name == "ddp" for layout in chosen):
            one, two = (_transformers(pythons[TRL], options, count) for count in (1, 2))
            rounds.setdefault(("transformers", "ddp"), []).append([(one, two)])
    rows = []
    for layout in chosen:
        bare = rounds[layout.torch[0], layout.name]
        rows += [_beside_row(layout, who, own, bare) for (who, name), own in rounds.items() if name == layout.name]
    text = (
        "Each process reads rows of its own; those of `tp` and `pp` learn from the same. The overhead is what the second process costs "
        "beyond what it costs in torch's own way to have the layout, written bare. All runs of a layout are there at once and take "
        f"single steps in turn, {options.steps - options.warm_up} that count; medians of {options.rounds} rounds with new "
        "processes, and beside the overhead the least and most of a round. transformers has the machine for itself."
    )
    head = ("layout: who", "tokens/s, 1 process", "2 processes", "times as many", "overhead", "of each round")
    return Table("Layouts beside torch's own", text, head, rows)


def _beside_row(layout: Beside, who: str, own: list[_Pairs], bare: list[_Pairs]) -> tuple[str, ...]:
    rows_read = _BATCH * (1 if layout.same_rows else 2)
    one, two = (median(each) for each in zip(*(pair for pairs in own for pair in pairs), strict=True))
    speed = (_BATCH * _LENGTH / one, rows_read * _LENGTH / two)
    figures = (*(f"{each:,.0f}" for each in speed), ratio_text(speed[1] / speed[0]))
    compared, verdict = (NONE, NONE), (NONE, NONE)
    if who != layout.torch[0]:
        overhead, *each = _overheads(own, bare)
        compared = (f"{overhead:+.1%}", f"{min(each):+.1%} to {max(each):+.1%}")
        if who == "forge":
            verdict = Verdict(f"≤ {_OVERHEAD:.0%}", overhead <= _OVERHEAD).cells
    return (f"{layout.name}: {who}", *figures, *compared, *verdict)


def _overheads(own: list[_Pairs], bare: list[_Pairs]) -> list[float]:
    """What a step on two processes takes of one alone, held against the same of a bare loop: of all rounds, then of each."""

    def longer(pairs: _Pairs) -> float:
        return median(two / one for one, two in pairs)

    taken = [([pair for pairs in own for pair in pairs], [pair for pairs in bare for pair in pairs])]
    return [longer(ours) / longer(theirs) - 1 for ours, theirs in [*taken, *zip(own, bare, strict=True)]]


def _in_turn(python: str, options: argparse.Namespace, layout: Beside) -> dict[str, list[float]]:
    """The seconds of each step of forge and of a bare loop, alone and on two processes."""
    sys.path.insert(0, str(ROOT))
    import forge

    task = {"model": str(_WORK / layout.model), "batch": _BATCH, "length": _LENGTH, "steps": options.steps}
    project = forge.open(ROOT / "projects" / "pydoc")
    contenders = {}
    with tempfile.TemporaryDirectory(dir=_WORK) as scratch:
        for count in (1, 2):
            run = str(Path(scratch, f"run-{count}"))
            changes = [
                f"trainer.output_dir={run}-out",
                f"trainer.max_steps={options.steps}",
                "trainer.save_strategy=no",
            ]
            changes += [f"model.path={_WORK / layout.model}", *_settings(), *layout.on(count)]
            project.config("chat/full", *changes).freeze(run)
            ours = (str(_HERE / "layout_worker.py"), run)
            contenders[f"forge on {count}"] = Contender([python, *_several(count), *ours], count)
            for way in layout.torch:
                bare = (str(_HERE / "parallel_worker.py"), json.dumps({**task, "layout": way}))
                contenders[f"{way} on {count}"] = Contender([python, *_several(count), *bare], count)
        return take_turns(contenders, options.steps, Path(scratch), _environment(scratch))


def _shown(pairs: _Pairs) -> str:
    one, two = (median(each) for each in zip(*pairs, strict=True))
    return f"{one:.3f} s and {two:.3f} s"


def _pipelines(pythons: dict[str, str], options: argparse.Namespace) -> Table:
    """A pipeline of two places waits for a part of the time that its schedule tells.

    Each place notes when it computes. Beside it is told how much longer the passes are than those of one process, timed in two processes at
    once that each do all of the work: a place of a pipeline never has the machine for itself.
    """
    most = max(count for _, count in _PIPELINES)
    alone: list[float] = []
    found: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for _ in range(options.rounds):
        changes = [f"trainer.gradient_accumulation_steps={most}", "trainer.per_device_train_batch_size=1", *_KEPT]
        with ThreadPoolExecutor(2) as both:
            work = [both.submit(_forge, pythons[FORGE], options, 1, changes, "even", _PASSES) for _ in range(2)]
        alone.append(sum(each.result() for each in work) / 2)
        for pipeline, told in zip(_PIPELINES, _watched(pythons[FORGE], options, _PIPELINES), strict=True):
            found.setdefault(pipeline, []).extend(told["steps"])
    rows = [_pipeline_row(*pipeline, steps, median(alone) / most * pipeline[1]) for pipeline, steps in found.items()]
    text = (
        "The part of a step in which a place waits: measured, from the first pass to the last, by what both places note; as `forge plan` "
        "tells it from the schedule; and from the schedule with passes that take as long as they took. What is compared is the quarter "
        "of the steps in which others took the least from the processors: a place that is interrupted has the other wait. How "
        "much they took of the time of all steps, and the waiting in all of them, is told beside it. The last figure is how much longer "
        "the passes of those steps take than those of one process that learns from the same rows one after another, while "
        "another process does so on the other core. The model has eight layers "
        "and a head for 264 tokens, so that stages are even; nothing is computed again, so that schedules may make backward passes in two "
        f"halves. {options.rounds} rounds of {options.steps - options.warm_up} steps each."
    )
    head = ("schedule", "microbatches", "idle", "told", "difference", "told by costs")
    more = ("idle in all steps", "taken by others", "longer passes")
    return Table("Pipelines of two places", text, (*head, *more), rows)


def _pipeline_row(name: str, count: int, steps: list[dict[str, Any]], work: float) -> tuple[str, ...]:
    calm = sorted(steps, key=lambda step: float(step["taken"]))[: max(1, len(steps) // 4)]
    measured = median(step["idle"] for step in calm)
    costs = {key: median(step["costs"][key] for step in calm) for key in steps[0]["costs"]}
    told, by_costs = _told_bubble(name, count, {}), _told_bubble(name, count, costs)
    points = (measured - told) * 100
    whole = (median(step["idle"] for step in steps), median(step["taken"] for step in steps))
    longer = median(step["busy"] for step in calm) / work - 1
    shares = (
        f"{measured:.1%}",
        f"{told:.1%}",
        f"{points:+.1f}",
        *(f"{each:.1%}" for each in (by_costs, *whole, longer)),
    )
    return (name, str(count), *shares, *Verdict(f"≤ {_POINTS:g} points", abs(points) <= _POINTS).cells)


def _schedules(pythons: dict[str, str], options: argparse.Namespace) -> Table:
    """Every schedule, on more places than there are cores: its order, its messages and its waiting are real, its passes are of one length."""
    rows = []
    for places in _PLACES:
        pipelines = [(name, 2 * places) for name in _SCHEDULES]
        many = _watched(pythons[FORGE], options, pipelines, places=places, held=_HELD_SECONDS)
        for (name, count), told in zip(pipelines, many, strict=True):
            calm = sorted(told["steps"], key=lambda step: float(step["longer"]))[: max(1, len(told["steps"]) // 4)]
            measured = median(step["idle"] for step in calm)
            wanted = _told_bubble(name, count, {}, places)
            points = (measured - wanted) * 100
            figures = (str(places), str(count), f"{measured:.1%}", f"{wanted:.1%}", f"{points:+.1f}")
            whole = (median(step["idle"] for step in told["steps"]), median(step["longer"] for step in told["steps"]))
            verdict = Verdict(f"≤ {_POINTS:g} points", abs(points) <= _POINTS).cells
            rows.append((name, *figures, *(f"{each:.1%}" for each in whole), *verdict))
    text = (
        "The part of a step in which a place waits, as above, of pipelines of more places than there are cores. So that they do not wait "
        f"for a core, a pass computes little and then sleeps until {_HELD_SECONDS * 1000:g} ms have gone by, a whole backward pass twice "
        "that, as a place does whose GPU computes; the order of the passes, the messages and the waiting are those of a run. "
        f"Compared is the quarter of {options.steps - options.warm_up} steps whose passes kept their length best; beside it stands the "
        "waiting in all steps, and how much longer than that their passes took."
    )
    head = ("schedule", "places", "microbatches", "idle", "told", "difference", "idle in all steps", "longer passes")
    return Table("Every schedule, with passes of one length", text, head, rows)


def _watched(
    python: str, options: argparse.Namespace, pipelines: Sequence[tuple[str, int]], places: int = 2, held: float = 0.0
) -> list[dict[str, Any]]:
    """What the places of all pipelines do, one after another in the same processes; with ``held``, a pass takes so many seconds."""
    sys.path.insert(0, str(ROOT))
    import forge

    with tempfile.TemporaryDirectory(dir=_WORK) as scratch:
        folders = []
        for name, count in pipelines:
            folders.append(str(Path(scratch, f"{name}-{count}")))
            changes = [f"parallel={name}", f"parallel.microbatches={count}", *_KEPT, "callback=none"]
            changes += [f"trainer.per_device_train_batch_size={count}", f"trainer.max_steps={options.steps}"]
            changes += [f"model.path={_WORK / (f'thin{places}' if held else 'even')}", f"parallel.pp={places}"]
            changes += [f"trainer.output_dir={scratch}", "trainer.save_strategy=no"]
            changes += [f"dataset.max_length={_HELD_LENGTH}"] if held else []
            project = forge.open(ROOT / "projects" / "pydoc")
            project.config("chat/full", *_settings(), *changes).freeze(folders[-1])
        command = [python, *_several(places), str(_HERE / "pipeline_worker.py"), *folders]
        return _lines(command, WARM_UP=str(options.warm_up), PASS_SECONDS=str(held))


def _told_bubble(name: str, count: int, costs: dict[str, float], places: int = 2) -> float:
    """What the schedule tells, of stages that are all as long or of passes that took so long."""
    sys.path.insert(0, str(ROOT))
    from forge.plan.layout import Layout
    from forge.plan.pipeline import StageCost, bubble_share

    stages = 1 if name in _ONE_STAGE else 2
    layout = Layout(pp=places, pp_schedule=_SCHEDULES[name], microbatches=count, stages_per_rank=stages)
    took = [[costs.get(f"{kind}{stage}", 0.0) for kind in "FBIW"] for stage in range(places * stages)]
    return bubble_share(layout, tuple(StageCost(f, i or b, w) for f, b, i, w in took) if costs else None)


def _scaling(pythons: dict[str, str], options: argparse.Namespace) -> Table:
    """As many rows for each process, and more processes."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    rows: list[tuple[str, ...]] = []
    for layout in _DATA:
        first = 0.0
        for processes in (1, 2, 4, 8):
            changes = [f"parallel={layout}"] if processes > 1 else []
            seconds = median(_forge(pythons[FORGE], options, processes, changes) for _ in range(options.rounds))
            first = first or seconds
            # More processes than cores take turns: what each would take alone is what its turn takes.
            fair = first * max(1, processes / cores)
            share = f"{max(0.0, 1 - fair / seconds):.0%}"
            speed = processes * _BATCH * _LENGTH / seconds
            rows.append((f"{layout}, {processes}", f"{speed:,.0f}", f"{speed / processes:,.0f}", share, NONE, NONE))
    text = (
        f"On {cores} cores. What a step takes beyond that of one process is time in which processes wait for one another and send; "
        "of more processes than cores each has a part of one."
    )
    return Table(
        "One to eight processes", text, ("layout, processes", "tokens/s", "of each", "waiting and sending"), rows
    )


def _forge(
    python: str,
    options: argparse.Namespace,
    processes: int,
    changes: list[str],
    model: str = "10M",
    parts: tuple[str, ...] = (),
) -> float:
    """The median of the seconds of a step, or of some parts of it."""
    with tempfile.TemporaryDirectory(dir=_WORK) as scratch:
        words = ["-p", str(ROOT / "projects" / "pydoc"), "-t", "chat/full", "train", "-M", str(_WORK / model)]
        words += ["--nproc", str(processes)] if processes > 1 else []
        words += ["--output-dir", scratch, "--max-steps", str(options.steps), "--save-strategy", "no", *_settings()]
        _output([python, "-m", "forge", *words, *changes], scratch)
        (log,) = Path(scratch).glob("runs/*/metrics.jsonl")
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        steps = [line["seconds"] for line in lines[options.warm_up :] if "seconds" in line]
        return median(sum(step[part] for part in parts or step) for step in steps)


def _settings() -> list[str]:
    """What all runs of forge have in common."""
    return [
        *("dataset=pydoc_text", f"dataset.max_length={_LENGTH}", "dataset.packing=greedy", "dataset.overflow=split"),
        *(f"trainer.per_device_train_batch_size={_BATCH}", "trainer.gradient_accumulation_steps=1"),
        *("trainer.logging_steps=1", "trainer.eval_strategy=no", "trainer.torch_compile=false", "logging=none"),
        *("trainer.mixed_precision=no", "model.dtype={_symbol_: torch.float32}"),
        *("optimizer.lr=1e-3", "optimizer.fused=true"),
    ]


def _transformers(python: str, options: argparse.Namespace, processes: int) -> float:
    """The seconds of a step of the Trainer, for as many tokens as the others have."""
    with tempfile.TemporaryDirectory(dir=_WORK) as scratch:
        task: dict[str, Any] = {
            "model": str(_WORK / "10M"),
            "data": str(_WORK / "text.jsonl"),
            "scratch": scratch,
            "steps": options.steps,
            "warm_up": options.warm_up,
            "batch": _BATCH,
            "length": _LENGTH,
            "precision": "fp32",
            "compile": False,
            "packed": False,
            "chat": False,
            "assistant_only": False,
            "fused": True,
        }
        lines = _lines(
            [python, *_several(processes), str(_HERE / "peers" / "transformers_trainer.py"), json.dumps(task)]
        )
        return processes * _BATCH * _LENGTH / peers_speed(lines)


def peers_speed(lines: list[dict[str, Any]]) -> float:
    """The tokens a second of all processes of a peer, each the median of its steps."""
    return sum(median(tokens / seconds for tokens, _, seconds in line["steps"]) for line in lines)


def _several(processes: int) -> list[str]:
    if processes == 1:
        return []
    return ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]


def _lines(command: list[str], **more: str) -> list[dict[str, Any]]:
    """What the processes report, a line each."""
    return [json.loads(line) for line in _output(command, str(_WORK), **more).splitlines() if line.startswith('{"')]


def _output(command: list[str], scratch: str, **more: str) -> str:
    environment = {**_environment(scratch), **more}
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environment, cwd=scratch).stdout


def _environment(scratch: str) -> dict[str, str]:
    settings = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "HF_HOME": scratch}
    return {**os.environ, **settings, "FORGE_CACHE_HOME": str(_WORK / "cache")}  # the data is the same in all runs


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=14)
    parser.add_argument("--warm-up", type=int, default=4)
    parser.add_argument(
        "--only", default="", help="only tables whose name holds this: beside, pipeline, schedules, scaling"
    )
    parser.add_argument(
        "--layouts", nargs="*", choices=[layout.name for layout in _BESIDE], help="beside torch's own, only these"
    )
    parser.add_argument("--write", help="the page to write the tables into")
    return parser.parse_args()


if __name__ == "__main__":
    main()
