"""The nodes of a config graph: frozen, and identical when they are the same object.

A pure ``${a.b}`` in a config is not a node of its own: the edge that stands for it leads to the very node at ``a.b``.
Sharing is identity; two nodes that merely look alike are two objects.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from forge.base.paths import Key, Path, dotted

if TYPE_CHECKING:
    from forge.base.origin import Origin

__all__ = ["Call", "Const", "Edge", "Expr", "Graph", "Map", "Missing", "Mode", "Node", "Seq"]

Mode: TypeAlias = Literal["call", "partial", "symbol"]


class Edge(NamedTuple):
    """One value inside another: under which key, which node, and where the config says so.

    ``ref`` is true when the config holds a ``${...}`` here, so that ``node`` belongs to another place (its own
    ``path``); ``origin`` is then the place of the reference, not of the node.
    """

    key: Key
    node: Node
    origin: Origin | None = None
    ref: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class _Base:
    path: Path
    origin: Origin | None = field(default=None, repr=False, kw_only=True)

    @property
    def name(self) -> str:
        """The dotted path, as people write it."""
        return dotted(self.path)


@dataclass(frozen=True, slots=True, eq=False)
class Const(_Base):
    """A plain value: None, bool, int, float, str, or a Secret around one."""

    value: object


@dataclass(frozen=True, slots=True, eq=False)
class Seq(_Base):
    """A list. The keys of its edges are indices, or names when the config wrote it with ``_list_: true``."""

    items: tuple[Edge, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Map(_Base):
    """A mapping of plain keys to nodes."""

    items: tuple[Edge, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Call(_Base):
    """A Python object named by ``target``: called, bound as a partial, or taken as it is (symbol)."""

    target: str
    args: tuple[Edge, ...] = ()
    kwargs: tuple[Edge, ...] = ()
    mode: Mode = "call"
    target_origin: Origin | None = field(default=None, repr=False, kw_only=True)


@dataclass(frozen=True, slots=True, eq=False)
class Expr(_Base):
    """A value computed from a text with interpolations that is not a pure reference; ``value`` is what it came to.

    ``deps`` are the nodes it read; they are shown, and they need not be built.
    """

    text: str
    value: object
    deps: tuple[Edge, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Missing(_Base):
    """A value that the config leaves open (``???``)."""


Node: TypeAlias = "Const | Seq | Map | Call | Expr | Missing"


@dataclass(frozen=True, slots=True)
class Graph:
    """All nodes reachable from one root, and the name of the config they came from.

    ``root`` is a Map for a whole config; for a single target it is that target's node.
    """

    name: str
    root: Node
