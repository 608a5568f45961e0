"""One measurement of `config.py` in a process of its own: ``config_worker.py WHAT NODES ROUNDS LIMIT PEERS``.

The last line printed is JSON: the seconds of each contender, and facts about what they answered.
"""

from __future__ import annotations

import ast
import json
import os
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter
from typing import TYPE_CHECKING, Any

from config_tree import CONFIG, write_project
from timing import Contender, Timing, take_turns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from forge.compose.project import Project
    from forge.graph.node import Graph

_OVERRIDES = ("seed=2",)


def main(what: str, nodes: int, rounds: int, limit: float, *, peers: bool) -> dict[str, Any]:
    """Measure one thing at one size."""
    with tempfile.TemporaryDirectory(prefix="forge-measured-") as folder:
        os.environ |= {f"FORGE_{kind}_HOME": os.path.join(folder, kind.lower()) for kind in ("CACHE", "CONFIG", "DATA")}
        project = Path(folder, "project")
        write_project(project, nodes)
        timings, facts = _MEASURES[what](project, rounds, limit, peers)
    return {"what": what, "nodes": nodes, "timings": [asdict(timing) for timing in timings], "facts": facts}


def _compose(folder: Path, rounds: int, limit: float, peers: bool) -> tuple[list[Timing], dict[str, Any]]:  # noqa: FBT001 - all measures are called alike
    from forge.compose.cache import compose
    from forge.compose.composer import compose_fresh

    project = _project(folder)

    def with_origins() -> Any:
        composed = compose(project, CONFIG, _OVERRIDES)
        _ask_all_origins(composed.tree)
        return composed

    contenders = [
        Contender("forge, cold", lambda: compose_fresh(project, CONFIG, _OVERRIDES)),
        Contender("forge, cached", lambda: compose(project, CONFIG, _OVERRIDES)),
        Contender("forge, cached, all origins asked", with_origins),
    ]
    if not peers:
        timings, _ = take_turns(contenders, rounds, limit)
        return timings, {}
    from hydra import compose as hydra_compose
    from omegaconf import OmegaConf

    hydra = Contender("hydra", lambda: hydra_compose(CONFIG, overrides=list(_OVERRIDES)), peer=True)
    with _hydra_folder(folder):
        timings, (theirs, *ours) = take_turns([hydra, *contenders], rounds, limit)
    same = theirs is None or all(OmegaConf.to_container(theirs) == one.tree for one in ours)
    return timings, {"same": same}


def _build(folder: Path, rounds: int, limit: float, peers: bool) -> tuple[list[Timing], dict[str, Any]]:  # noqa: FBT001 - as above
    from forge.build.build import build
    from forge.compose.composer import compose_fresh
    from forge.graph.lower import lower

    composed = compose_fresh(_project(folder), CONFIG)
    graph = lower(composed)
    contenders = [
        Contender("forge, build", lambda: build(graph.root)),
        Contender("forge, lower and build", lambda: build(lower(composed).root)),
    ]
    if not peers:
        timings, _ = take_turns(contenders, rounds, limit)
        return timings, {}
    import fiddle
    from hydra import compose as hydra_compose
    from hydra.utils import instantiate

    with _hydra_folder(folder):
        config = hydra_compose(CONFIG)
    made = _fiddle_config(graph)
    contenders = [
        # Of the ways to convert, "all" is Hydra's quickest here: the default wraps each dict that is built.
        Contender("hydra, instantiate", lambda: instantiate(config, _convert_="all"), peer=True),
        Contender("fiddle, build", lambda: fiddle.build(made), peer=True),
        Contender("fiddle, make and build", lambda: fiddle.build(_fiddle_config(graph)), peer=True),
        *contenders,
    ]
    timings, answers = take_turns(contenders, rounds, limit)
    given = [answer for answer in answers if answer is not None]
    return timings, {"same": all(answer == given[-1] for answer in given)}


def _code(folder: Path, rounds: int, limit: float, peers: bool) -> tuple[list[Timing], dict[str, Any]]:  # noqa: FBT001 - as above
    from forge.render.python import python

    graph = _graph(folder)
    contenders = [Contender("forge, python", lambda: python(graph))]
    if peers:
        from fiddle.codegen.codegen import codegen_dot_syntax, new_codegen

        made = _fiddle_config(graph)
        dotted = Contender("fiddle, codegen_dot_syntax", lambda: "\n".join(codegen_dot_syntax(made).lines()), peer=True)
        contenders = [Contender("fiddle, new_codegen", lambda: new_codegen(made), peer=True), dotted, *contenders]
    timings, texts = take_turns(contenders, rounds, limit)
    written = {contender.name: text for contender, text in zip(contenders, texts, strict=True) if text is not None}
    for text in written.values():
        ast.parse(text)
    return timings, {"lines": {name: text.count("\n") + 1 for name, text in written.items()}}


def _lower(folder: Path, rounds: int, limit: float, _: bool) -> tuple[list[Timing], dict[str, Any]]:  # noqa: FBT001 - as above
    from forge.compose.composer import compose_fresh
    from forge.graph.lower import lower

    composed = compose_fresh(_project(folder), CONFIG)
    timings, _graphs = take_turns([Contender("forge, lower", lambda: lower(composed))], rounds, limit)
    return timings, {}


def _draw(folder: Path, rounds: int, limit: float, _: bool) -> tuple[list[Timing], dict[str, Any]]:  # noqa: FBT001 - as above
    from forge.render.forms import draw

    graph = _graph(folder)
    contenders = [Contender(f"forge, {form}", lambda form=form: draw(graph, form)) for form in ("tree", "svg", "html")]
    timings, texts = take_turns(contenders, rounds, limit)
    return timings, {"size": {one.name: len(text) for one, text in zip(contenders, texts, strict=True)}}


def _complete(folder: Path, rounds: int, limit: float, _: bool) -> tuple[list[Timing], dict[str, Any]]:  # noqa: FBT001 - as above
    """Every press of Tab while a key of a config of so many keys is typed, beginning with the empty word."""
    from forge.cli.completion import complete

    known = _Known(_graph(folder))
    words = [key[:length] for key in list(known.keys)[:: max(1, len(known.keys) // 10)] for length in range(len(key))]
    complete(["show", ""], 1, known)
    presses: dict[str, list[float]] = {word: [] for word in words}
    stop = perf_counter() + limit
    for _round in range(rounds):
        for word, taken in presses.items():
            start = perf_counter()
            found = complete(["show", word], 1, known)
            taken.append(perf_counter() - start)
            if not found:
                raise RuntimeError(f"nothing continues {word!r}")
        if perf_counter() > stop:
            break
    # The median of a word's rounds, so that p99 speaks of the slow words and not of a busy machine.
    taken = [median(rounds_of_word) for rounds_of_word in presses.values()]
    cuts = quantiles(taken, n=100, method="inclusive")
    return [Timing("forge, completion", taken)], {"p50": cuts[49], "p99": cuts[98], "words": len(taken)}


class _Known:
    """A config with one key for each node of a graph, all at the top, and nothing else known."""

    def __init__(self, graph: Graph) -> None:
        from forge.cli.known import Value
        from forge.cli.registry import VERBS

        self.verbs = VERBS
        groups = [edge.node.items for edge in graph.root.items if hasattr(edge.node, "items")]
        self.keys = {f"{edge.node.name.replace('.', '_')}": Value("", inner=True) for items in groups for edge in items}

    def values(self, path: Any) -> dict[str, Any]:
        return {} if path else self.keys

    def projects(self) -> dict[str, str]:
        return {}

    configs = groups = targets = projects

    def choices(self, _: str) -> dict[str, str]:
        return {}

    def flags(self) -> tuple[Any, ...]:
        return ()


def _project(folder: Path) -> Project:
    from forge.compose.project import find_project

    return find_project(str(folder))


def _graph(folder: Path) -> Graph:
    from forge.compose.composer import compose_fresh
    from forge.graph.lower import lower

    return lower(compose_fresh(_project(folder), CONFIG))


def _ask_all_origins(tree: Any) -> None:
    stack = [tree]
    while stack:
        container = stack.pop()
        settings = container.settings
        assert len(settings) == len(container)  # noqa: S101 - asking must not be optimised away
        stack.extend(
            item
            for item in (container.values() if isinstance(container, dict) else container)
            if isinstance(item, (dict, list))
        )


@contextmanager
def _hydra_folder(folder: Path) -> Iterator[None]:
    from hydra import initialize_config_dir

    with initialize_config_dir(config_dir=str(folder / "configs"), version_base="1.3"):
        yield


def _fiddle_config(graph: Graph) -> Any:
    """The same graph as Fiddle has it, shared nodes shared; the root is a Config too, as its code generators ask."""
    import fiddle

    from forge.graph.node import Call, Map
    from forge.graph.walk import walk

    made: dict[int, Any] = {}
    for node in walk(graph.root):
        if isinstance(node, Call):
            made[id(node)] = fiddle.Config(dict, **{edge.key: made[id(edge.node)] for edge in node.kwargs})
        elif isinstance(node, Map) and node is graph.root:
            made[id(node)] = fiddle.Config(dict, **{edge.key: made[id(edge.node)] for edge in node.items})
        elif isinstance(node, Map):
            made[id(node)] = {edge.key: made[id(edge.node)] for edge in node.items}
        else:
            made[id(node)] = node.value
    return made[id(graph.root)]


_MEASURES: dict[str, Callable[[Path, int, float, bool], tuple[list[Timing], dict[str, Any]]]] = {
    "compose": _compose,
    "lower": _lower,
    "build": _build,
    "code": _code,
    "draw": _draw,
    "complete": _complete,
}

if __name__ == "__main__":
    sys.setrecursionlimit(100_000 if sys.version_info >= (3, 11) else 20_000)  # the code generators of Fiddle recurse
    print(
        "\n"
        + json.dumps(
            main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]), peers=sys.argv[5] == "peers")
        )
    )
