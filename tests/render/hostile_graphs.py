"""Random graphs whose keys, values and targets try to be something else than keys, values and targets."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from forge.graph.node import Call, Const, Edge, Expr, Graph, Map, Node, Seq

if TYPE_CHECKING:
    from random import Random

PIECES = (
    "'", '"', "\\", "\n", "\r", "\t", "\0", "\x1b[31m", "\x7f", "\x85", "\u2028", "\u202e", "\ufeff", "\ud800", "{", "}",
    "${a}", "%s", "#", "<", ">", "&", "]]>", "-->", "</script>", "`", "é", "漢", "🔥", " ", "a", "b", "0", "_", ".", ":", "=",
    '"""', "'''", "\\N{DIGIT ONE}", "\\x41", "'); import os; os.system('x'); ('", "| end", "*", "[", "~", "null",
)  # fmt: skip
WORDS = ("lr", "model", "self", "class", "None", "print", "import", "ﬁ", "__debug__", "a-b", "", "match", "objects", "key", "value",
         "float", "partial", "torch", "__name__", "µ", "func", "_args_", "x" * 60, "1st", "lambda", "AdamW", "target", "name")  # fmt: skip
MODULES = ("torch", "torch.optim", "torch.nn", "json", "a.b", "a.b.c", "A", "list", "builtins", "__future__", "functools",
           "forge.ml.data", "print.x", "os.path", "objects", "ünï.cödé")  # fmt: skip
LEAVES = ("AdamW", "Adam", "list", "print", "partial2", "__name__", "objects", "key", "x", "Ünï", "Model.from_config", "_Hidden.make",
          "float", "torch", "json", "AUTO", "optim", "value", "dict")  # fmt: skip
NUMBERS = (
    0,
    1,
    -1,
    True,
    False,
    None,
    0.0,
    -0.0,
    1.0,
    1e-5,
    1e300,
    math.inf,
    -math.inf,
    math.nan,
    2**64,
    -(10**5000),
    0.1,
    5e-324,
)


def text(random: Random) -> str:
    return "".join(random.choice(PIECES) for _ in range(random.choice((0, 1, 1, 2, 3, 8))))


def word(random: Random) -> str:
    return random.choice(WORDS) if random.random() < 0.7 else text(random)


def scalar(random: Random) -> Any:
    return random.choice(NUMBERS) if random.random() < 0.5 else text(random)


def key(random: Random) -> Any:
    return random.choice((0, 1, -7, True, None, 1.5, math.inf)) if random.random() < 0.15 else word(random)


def hostile(random: Random, *, most: int = 14) -> Graph:
    """A graph of up to ``most`` objects, each of which may be used by several others."""
    pool: list[Node] = []
    for _ in range(random.randrange(1, most)):
        pool.append(_node(random, pool))
    root = Map((), _edges(random, pool, names=True, least=1))
    return Graph(text(random), root)


def _node(random: Random, pool: list[Node]) -> Node:
    path = tuple(word(random) for _ in range(random.randrange(1, 4)))
    kind = random.random()
    if kind < 0.15:
        return Const(path, scalar(random))
    if kind < 0.25:
        return Expr(path, "${x}", random.choice((scalar(random), [scalar(random)], {"a": [scalar(random)]})))
    if kind < 0.4:
        return Seq(path, _edges(random, pool, names=False))
    if kind < 0.55:
        return Map(path, _edges(random, pool, names=True))
    target = f"{random.choice(MODULES)}.{random.choice(LEAVES)}"
    if kind < 0.65:
        return Call(path, target, mode="symbol")
    kwargs = tuple(edge for edge in _edges(random, pool, names=True) if isinstance(edge.key, str))
    args = _edges(random, pool, names=False) if random.random() < 0.3 else ()
    return Call(path, target, args, kwargs, "partial" if random.random() < 0.3 else "call")


def _edges(random: Random, pool: list[Node], *, names: bool, least: int = 0) -> tuple[Edge, ...]:
    found: dict[Any, Edge] = {}
    for position in range(random.randrange(least, 6)):
        name = key(random) if names else position
        node = random.choice(pool[-6:]) if pool and random.random() < 0.7 else Const((name,), scalar(random))
        found[name] = Edge(name, node, ref=random.random() < 0.2)
    return tuple(found.values())
