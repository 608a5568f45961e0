"""Run by the tests in a process of its own: try to build every target, and record what the process did meanwhile.

Reads {"targets": [...], "allow": [...], "marker": path} from standard input and writes what happened as JSON.
"""

from __future__ import annotations

import json
import os
import sys

from forge.base.errors import PolicyError
from forge.build.build import build
from forge.graph.node import Call, Const, Edge, Map, Node, Seq
from forge.graph.policy import Policy, default_policy

# What a pure computation does too: `id()`, reading an attribute of a function or a frame.
HARMLESS = {"builtins.id", "object.__getattr__", "sys._getframe"}

events: list[str] = []
watching = False


def watch(event: str, arguments: tuple[object, ...]) -> None:
    if watching and event not in HARMLESS:
        events.append(f"{event} {arguments!r:.200}")


def shapes(target: str, marker: str) -> list[Node]:
    """The target as the root, inside a mapping inside an allowed call, among positional arguments, bound, by itself."""
    marked = (Edge(0, Const(("t", 0), marker)),)
    call = Call(("t",), target, marked)
    inside = Map(("m",), (Edge("x", call),))
    positional = Call(("a",), "builtins.list", (Edge(0, Seq(("a", 0), (Edge(0, call),))),))
    bound = Call(("p",), target, marked, mode="partial")
    symbol = Call(("s",), target, mode="symbol")
    return [
        call,
        Call(("d",), "builtins.dict", kwargs=(Edge("m", inside),)),
        positional,
        Map((), (Edge("p", bound),)),
        Map((), (Edge("first", Const(("first",), 1)), Edge("s", symbol))),
    ]


def attempt(root: Node, policy: Policy) -> str:
    try:
        build(root, policy=policy)
    except PolicyError:
        return "refused"
    except BaseException as error:  # noqa: BLE001 - a target may raise anything, SystemExit too
        return f"{type(error).__name__}: {error}"[:200]
    return "built"


def state(policy: Policy) -> tuple[object, ...]:
    return (
        policy.rules,
        hash(policy),
        dict(os.environ),
        tuple(sys.path),
        os.getcwd(),
        sys.pycache_prefix,
        sys.getrecursionlimit(),
    )


def main() -> None:
    global watching  # noqa: PLW0603 - an audit hook cannot be removed, so it is switched
    asked = json.load(sys.stdin)
    policy = default_policy(extra=asked["allow"])
    attempt(Call(("warm",), "collections.OrderedDict"), policy)
    attempt(Call(("warm",), "warm.up"), policy)
    sys.addaudithook(watch)
    roots = [(target, shape) for target in asked["targets"] for shape in shapes(target, asked["marker"])]
    before, modules = state(policy), set(sys.modules)
    watching = True
    outcomes = [(target, attempt(shape, policy)) for target, shape in roots]
    watching = False
    answer = {
        "attempts": len(outcomes),
        "not_refused": [pair for pair in outcomes if pair[1] != "refused"],
        "events": events,
        "imported": sorted(set(sys.modules) - modules),
        "unchanged": state(policy) == before and default_policy(extra=asked["allow"]) == policy,
    }
    json.dump(answer, sys.__stdout__)


if __name__ == "__main__":
    main()
