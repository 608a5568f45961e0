"""How quick forge's configs are, next to Hydra and Fiddle in the same run: ``python benchmarks/config.py``.

Each measurement is a process of its own, in which the contenders take turns; what a peer and forge answer is compared
too. ``--write docs/performance.md`` puts the tables into the section "Config" of that page.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

from own_venv import PEERS, ROOT, ensure_venv
from report import NONE, Table, Verdict, duration, machine, ratio_text, with_section
from startup import HYDRA, NOTHING, TORCH, measure_startup, suitable_python
from timing import Timing

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_HERE = Path(__file__).resolve().parent
_SIZED = ("compose", "lower", "build", "code")
_MEASURES = (*_SIZED, "draw", "complete", "startup")
_DRAWN = (30, 300)
_CANDIDATES = 10_000
_COMPLETION = 0.010
_GROWTH = 1.25
_GROWTH_SIZES = (1000, 10_000)


class Budget(NamedTuple):
    """How many times quicker than a peer one contender has to be, from a number of nodes on."""

    contender: str
    peer: str
    times: float
    smallest: int = 0


_FASTER = (
    Budget("forge, cold", "hydra", 10, smallest=1000),
    Budget("forge, cached", "hydra", 100, smallest=1000),
    Budget("forge, build", "hydra, instantiate", 40),
)
_STARTUP = {
    "forge --help": (HYDRA, 1.0),
    "forge ls": (HYDRA, 1.0),
    "forge show": (HYDRA, 1.0),
    "forge graph": (HYDRA, 1.0),
    "forge show, cold": (HYDRA, 1.5),
    "forge check, first": (TORCH, 0.6),
    "forge check": (TORCH, 0.1),
}
_TITLES = {
    "compose": ("Compose", "The config of so many nodes, with one override. Times are milliseconds."),
    "lower": ("Lower", "From the composed config to the graph. Times are milliseconds."),
    "build": (
        "Build",
        (
            "All objects of the config; the target is `dict`. Hydra makes two objects for each node, because it does "
            "not share what two nodes refer to; forge and Fiddle make one. Times are milliseconds."
        ),
    ),
    "code": (
        "Code",
        "A Python program that builds the graph; Fiddle's builds a config of it. All of them parse. Times are milliseconds.",
    ),
    "draw": ("Draw", "The graph as a terminal tree, as SVG and as a page, layout included. Times are milliseconds."),
}


class Result(NamedTuple):
    """What one worker reported."""

    nodes: int
    timings: list[Timing]
    facts: dict[str, Any]


def main() -> int:
    """Measure, print, and perhaps write; 1 when something did not run, or with --check when a budget is unmet."""
    options = _options()
    own = ensure_venv(options.venv) if options.peers else sys.executable
    results: dict[str, list[Result]] = {}
    failures: list[str] = []
    for what in [name for name in options.only if name != "startup"]:
        for nodes in _sizes(what, options.sizes):
            result = _work(own, what, nodes, options)
            if isinstance(result, str):
                failures.append(f"{what} at {nodes:,} nodes did not run: {result}")
            else:
                results.setdefault(what, []).append(result)
    tables = list(_tables(results))
    if "startup" in options.only:
        tables.append(_startup_table(own, options, failures))
    body = "\n\n".join([_intro(peers=options.peers), *(table.markdown() for table in tables)])
    print(body)
    if options.write:
        page = with_section(options.write, "Config", body)
        options.write.write_text(page)
    unmet = [row for table in tables for row in table.unmet]
    for line in [*failures, *(f"over budget: {row}" for row in unmet)]:
        print(line, file=sys.stderr)
    return 1 if failures or (options.check and unmet) else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=_numbers, default=[10, 100, 1000, 10_000], help="numbers of nodes")
    parser.add_argument("--rounds", type=int, default=5, help="how often each contender has its turn")
    parser.add_argument("--only", type=_names, default=list(_MEASURES), help=f"some of {','.join(_MEASURES)}")
    parser.add_argument("--limit", type=float, default=60, help="seconds one contender may use for one size")
    parser.add_argument("--write", type=Path, help="put the tables into this page")
    parser.add_argument("--check", action="store_true", help="exit with 1 when a budget is not met")
    parser.add_argument("--no-peers", dest="peers", action="store_false", help="measure forge alone, without a venv")
    parser.add_argument("--venv", type=Path, default=_HERE / ".venv", help="where the peers are installed")
    return parser.parse_args()


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


def _names(text: str) -> list[str]:
    names = text.split(",")
    for name in names:
        if name not in _MEASURES:
            raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(_MEASURES)}")
    return names


def _sizes(what: str, asked: list[int]) -> list[int]:
    if what in _SIZED:
        return asked
    return list(_DRAWN) if what == "draw" else [min(_CANDIDATES, max(asked))]


def _work(python: str, what: str, nodes: int, options: argparse.Namespace) -> Result | str:
    """One worker process; a text when it failed."""
    print(f"measuring {what} at {nodes:,} nodes", file=sys.stderr)
    words = [python, str(_HERE / "config_worker.py"), what, str(nodes), str(options.rounds), str(options.limit)]
    words.append("peers" if options.peers else "alone")
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, cwd=ROOT, timeout=60 + 20 * options.limit, check=False
        )
    except subprocess.TimeoutExpired:
        return "it took too long"
    if done.returncode:
        return (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    found = json.loads(done.stdout.splitlines()[-1])
    return Result(nodes, [Timing(**timing) for timing in found["timings"]], found["facts"])


def _intro(*, peers: bool) -> str:
    versions = f"Peers: {', '.join(PEERS)}. " if peers else "Without peers. "
    return (
        f"Measured {machine()}. {versions}A node is a `_target_` and five values, two of them "
        "interpolations (a number of the root, and a node that others share); the nodes lie in 20 config groups. "
        "Contenders take turns in one process, and ratios are taken round by round, so that what else the machine does "
        "disturbs both. A contender that is given up shows the limit it went over. "
        "Repeat it with `python benchmarks/config.py`."
    )


def _tables(results: dict[str, list[Result]]) -> Iterator[Table]:
    for what, (title, text) in _TITLES.items():
        if what in results:
            rows = [row for result in results[what] for row in _rows(what, result)]
            yield Table(title, text, ("nodes", "what", "least", "median", "µs per node", *_last_head(what)), rows)
    if any(len(results.get(what, ())) > 1 for what in _SIZED):
        yield _growth_table(results)
    if "complete" in results:
        yield _completion_table(results["complete"][0])


def _last_head(what: str) -> tuple[str, ...]:
    """What the column before the budget holds."""
    return {
        "compose": ("times quicker than Hydra, least to median", "same answer"),
        "build": ("times quicker than instantiate, least to median", "same answer"),
        "code": ("times quicker than Fiddle's quicker one, least to median", "lines"),
        "draw": ("characters",),
    }.get(what, ())


def _rows(what: str, result: Result) -> Iterator[tuple[str, ...]]:
    """The rows of one size."""
    by_name = {timing.name: timing for timing in result.timings}
    peer = _reference(what, by_name)
    for timing in result.timings:
        facts = []
        if what in {"compose", "build", "code"}:
            facts.append(_quicker_text(timing, peer))
        if what in {"compose", "build"}:
            facts.append({True: "yes", False: "**no**", None: NONE}[result.facts.get("same")])
        if what == "code":
            facts.append(_number(result.facts["lines"].get(timing.name)))
        if what == "draw":
            facts.append(_number(result.facts["size"].get(timing.name)))
        verdict = _faster_verdict(timing, by_name, result.nodes)
        yield (f"{result.nodes:,}", timing.name, *_times(timing, result.nodes), *facts, *verdict.cells)


def _number(value: int | None) -> str:
    return NONE if value is None else f"{value:,}"


def _times(timing: Timing, nodes: int) -> tuple[str, str, str]:
    if not timing.seconds:
        return timing.note, NONE, NONE
    return duration(timing.least), duration(timing.middle), f"{timing.least / nodes * 1e6:,.1f}"


def _reference(what: str, by_name: dict[str, Timing]) -> Timing | None:
    """The peer that forge is held against: the quicker one where there are two."""
    names = {
        "compose": ("hydra",),
        "build": ("hydra, instantiate",),
        "code": ("fiddle, new_codegen", "fiddle, codegen_dot_syntax"),
    }.get(what, ())
    found = [by_name[name] for name in names if name in by_name and by_name[name].seconds]
    return min(found, key=lambda timing: timing.least, default=None)


def _quicker_text(timing: Timing, peer: Timing | None) -> str:
    ratios = _ratios(peer, timing) if peer is not None and peer is not timing else []
    return f"{ratio_text(min(ratios))} to {ratio_text(median(ratios))}" if ratios else NONE


def _ratios(one: Timing, other: Timing) -> list[float]:
    """One over the other, round by round."""
    return [first / second for first, second in zip(one.seconds, other.seconds, strict=False)]


def _faster_verdict(timing: Timing, by_name: dict[str, Timing], nodes: int) -> Verdict:
    """The median decides: a single round may have met a busy machine."""
    for budget in _FASTER:
        peer = by_name.get(budget.peer)
        if timing.name == budget.contender and nodes >= budget.smallest and peer is not None:
            ratios = _ratios(peer, timing)
            return Verdict(f"≥ {budget.times:g}x", median(ratios) >= budget.times if ratios else None)
    return Verdict()


def _growth_table(results: dict[str, list[Result]]) -> Table:
    sizes = sorted({result.nodes for what in _SIZED for result in results.get(what, ())})
    rows = []
    for what in _SIZED:
        costs: dict[str, dict[int, float]] = {}
        for result in results.get(what, ()):
            for timing in result.timings:
                costs.setdefault(timing.name, {})[result.nodes] = (
                    timing.least / result.nodes if timing.seconds else float("nan")
                )
        for name, cost in costs.items():
            shown = [f"{cost[size] * 1e6:,.1f}" if cost.get(size, 0) > 0 else NONE for size in sizes]
            rows.append((f"{what}: {name}", *shown, *_growth_cells(name, cost)))
    return Table(
        "Cost per node",
        "Microseconds per node, the least of all rounds, by the number of nodes. A cost per node that does not grow is "
        f"a time in proportion to the size; up to {_GROWTH} is put down to the processor's caches and to noise.",
        ("what", *(f"{size:,} nodes" for size in sizes), "1,000 → 10,000"),
        rows,
    )


def _growth_cells(name: str, cost: dict[int, float]) -> tuple[str, ...]:
    small, large = (cost.get(size, float("nan")) for size in _GROWTH_SIZES)
    growth = large / small
    if growth != growth:  # noqa: PLR0124 - not a number: one of the two was not measured
        return (NONE, *Verdict().cells)
    verdict = Verdict(f"≤ {_GROWTH}x", growth <= _GROWTH) if name.startswith("forge") else Verdict()
    return (f"{growth:.2f}", *verdict.cells)


def _completion_table(result: Result) -> Table:
    p99 = result.facts["p99"]
    verdict = Verdict(f"p99 ≤ {_COMPLETION * 1000:g} ms", p99 <= _COMPLETION)
    cells = (duration(result.facts["p50"]), duration(p99), f"{result.facts['words']:,}", *verdict.cells)
    return Table(
        "Completion",
        "One press of Tab in a config with so many keys at its top, for every beginning of ten of its keys, the empty "
        "word included; each word's median of all rounds. Milliseconds, without the start of the process.",
        ("candidates", "p50", "p99", "words"),
        [(f"{result.nodes:,}", *cells)],
    )


def _startup_table(own: str, options: argparse.Namespace, failures: list[str]) -> Table:
    print("measuring startup", file=sys.stderr)
    timings = measure_startup(
        suitable_python(own), str(ROOT / "projects" / "pydoc"), options.rounds * 2, peers=options.peers
    )
    failures += [f"{timing.name} {timing.note}" for timing in timings if timing.note]
    return Table(
        "Start-up",
        "Whole processes on the shipped config `pretrain/tiny` of `projects/pydoc`, in milliseconds, with the ratio to "
        "Python importing Hydra (to Python importing torch for `check`) in the same round. Cold and first: the cache "
        "folder is emptied before each run.",
        ("process", "least", "median", "ratio, least to median"),
        list(_startup_rows(timings)),
    )


def _startup_rows(timings: Iterable[Timing]) -> Iterator[tuple[str, ...]]:
    by_name = {timing.name: timing for timing in timings}
    for timing in by_name.values():
        if not timing.seconds:
            yield (f"`{timing.name}`", timing.note, NONE, NONE, *Verdict().cells)
            continue
        peer_name, most = _STARTUP.get(timing.name, (HYDRA, None))
        peer = by_name.get(peer_name)
        ratios = _ratios(timing, peer) if peer is not None and timing.name not in {NOTHING, HYDRA, TORCH} else []
        shown = f"{min(ratios):.2f} to {median(ratios):.2f}" if ratios else NONE
        kind = "hydra" if peer_name == HYDRA else "torch"
        verdict = Verdict(f"≤ {most}x {kind}", median(ratios) <= most) if ratios and most is not None else Verdict()
        yield (f"`{timing.name}`", duration(timing.least), duration(timing.middle), shown, *verdict.cells)


if __name__ == "__main__":
    sys.exit(main())
