"""The kinds of difference between two graphs.

Paths are those of the later graph, except for what exists in the earlier one only. Values are shown as plain data, as a
config file would hold them; two changes are equal when they say the same, wherever it was written.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from forge.graph.node import Call, Expr, Map, Missing, Seq
from forge.graph.walk import edges, fold

if TYPE_CHECKING:
    from forge.base.origin import Origin
    from forge.base.paths import Path
    from forge.graph.node import Mode, Node

__all__ = [
    "Add",
    "Change",
    "Holder",
    "Move",
    "Origins",
    "Remove",
    "Reorder",
    "Retarget",
    "Set",
    "Share",
    "Unshare",
    "as_config",
]

Origins: TypeAlias = "tuple[Origin | None, Origin | None]"


class Holder(NamedTuple):
    """Two containers that hold the same place of the two graphs, and the holder around them."""

    old: Node
    new: Node
    moved: bool
    outer: Holder | None


@dataclass(frozen=True, slots=True)
class _At:
    path: Path
    holder: Holder | None = field(default=None, kw_only=True, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Set(_At):
    """A value became another one; ``computed`` says that it follows from other values and its own text is the same."""

    old: object
    new: object
    origins: Origins = field(default=(None, None), compare=False)
    computed: bool = False
    text: object = field(default=None, kw_only=True, compare=False, repr=False)
    """The new value as a config writes it: with its ``${...}``."""


@dataclass(frozen=True, slots=True)
class Add(_At):
    """The later graph has a value here, the earlier one has nothing."""

    value: object
    origin: Origin | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Remove(_At):
    """The earlier graph has a value here, the later one has nothing."""

    value: object
    origin: Origin | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Retarget(_At):
    """The object here is made by another target."""

    old: str
    new: str
    origins: Origins = field(default=(None, None), compare=False)
    mode: Mode = "call"


@dataclass(frozen=True, slots=True)
class Share(_At):
    """The value here is now the very object at ``other``."""

    other: Path
    origins: Origins = field(default=(None, None), compare=False)


@dataclass(frozen=True, slots=True)
class Unshare(_At):
    """The value here was the very object at ``other`` and now is one of its own."""

    other: Path
    value: object = field(compare=False)
    origins: Origins = field(default=(None, None), compare=False)


@dataclass(frozen=True, slots=True)
class Move(_At):
    """The object that was at ``old`` is now at ``path``; what changed inside it is listed on its own."""

    old: Path
    value: object = field(compare=False, repr=False)
    origins: Origins = field(default=(None, None), compare=False)
    users: tuple[Path, ...] = field(default=(), kw_only=True, compare=False, repr=False)
    """The places that refer to the object or into it."""
    old_holder: Holder | None = field(default=None, kw_only=True, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Reorder(_At):
    """A list of named items has its items in another order."""

    old: tuple[str, ...]
    new: tuple[str, ...]
    origins: Origins = field(default=(None, None), compare=False)


Change: TypeAlias = "Set | Add | Remove | Retarget | Share | Unshare | Move | Reorder"


def as_config(node: Node, *, ref: bool = False) -> object:
    """A node as the plain data that a config file would hold, references and computed values as their ``${...}``."""
    return f"${{{node.name}}}" if ref else fold(node, _write)


def _write(node: Node, values: list[object]) -> object:
    texts = [f"${{{edge.node.name}}}" if edge.ref else value for edge, value in zip(edges(node), values, strict=True)]
    if isinstance(node, Call):
        return _write_call(node, texts)
    if isinstance(node, Map):
        return {edge.key: text for edge, text in zip(node.items, texts, strict=True)}
    if isinstance(node, Seq):
        return (
            {"_list_": True} | {e.key: t for e, t in zip(node.items, texts, strict=True)}
            if any(isinstance(e.key, str) for e in node.items)
            else texts
        )
    return "???" if isinstance(node, Missing) else node.text if isinstance(node, Expr) else node.value


def _write_call(node: Call, texts: list[object]) -> dict[object, object]:
    if node.mode == "symbol":
        return {"_symbol_": node.target}
    split = len(node.args)
    return (
        {"_target_": node.target}
        | ({"_args_": texts[:split]} if split else {})
        | ({"_partial_": True} if node.mode == "partial" else {})
        | {edge.key: text for edge, text in zip(node.kwargs, texts[split:], strict=True)}
    )
