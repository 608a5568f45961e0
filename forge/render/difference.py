"""Changes between two graphs as text, as a picture, and as the overrides that turn one config into the other."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from forge.base.errors import ForgeError
from forge.base.paths import dotted
from forge.compose.quote import override_key, quote_value, spellable
from forge.graph.align import named
from forge.graph.change import Add, Move, Remove, Reorder, Retarget, Set, Share, Unshare, as_config
from forge.graph.node import Call, Expr, Map, Seq
from forge.graph.walk import edges, fold, walk
from forge.render.label import printable, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from forge.base.origin import Origin
    from forge.base.paths import Path
    from forge.graph.change import Change, Holder
    from forge.graph.node import Edge, Graph, Node
    from forge.render.cards import Mark

__all__ = ["bridge", "marked", "overlay", "overrides", "shortest", "text"]


_ROUNDS: Final = 3  # of 2,500 generated pairs of configs none needed more than two
_WIDEST_PATH: Final = 48
_WIDEST_WHAT: Final = 56
_COLORS: Final = {"+": "32", "-": "31", "~": "35", ">": "36", "=": "36"}


# ---- text


def text(changes: Sequence[Change], *, color: bool = False, width: int | None = None) -> str:
    """One line a change: what, from which value to which, and where it is written; empty without changes.

    Where a change needs more than ``width`` letters, the place where it is written stands in a line of its own.
    """
    rows = [_row(change) for change in changes]
    first = min(_WIDEST_PATH, max((len(row[1]) for row in rows), default=0))
    third = max((len(str(row[3] or "")) for row in rows), default=0)
    room = _WIDEST_WHAT if width is None else min(_WIDEST_WHAT, max(0, width - first - third - 7))
    second = min(room, max((len(row[2]) for row in rows), default=0))
    lines: list[str] = []
    group = object()
    for change, (sign, path, what, origin) in zip(changes, rows, strict=True):
        if lines and change.path[:1] != group:
            lines.append("")
        group = change.path[:1]
        found = [f"{sign} {path:<{first}}  {what:<{second}}   {origin or ''}".rstrip()]
        if width is not None and len(found[0]) > width:
            found = [f"{sign} {path:<{first}}  {what}", *([f"{'':{first + 4}}{origin}"] if origin else [])]
        lines += [f"\x1b[{_COLORS[sign]}m{line}\x1b[0m" if color else line for line in found]
    return "\n".join(lines)


def _row(change: Change) -> tuple[str, str, str, Origin | None]:
    path = printable(dotted(change.path)) or "(root)"
    if isinstance(change, Add):
        return "+", path, shown(change.value), change.origin
    if isinstance(change, Remove):
        return "-", path, shown(change.value), change.origin
    origin = change.origins[1]
    if isinstance(change, Move):
        return ">", path, printable(f"moved from {dotted(change.old)}"), origin
    if isinstance(change, Share):
        return "=", path, printable(f"now the same object as {dotted(change.other)}"), origin
    if isinstance(change, Retarget):
        return "~", path, printable(f"{change.old} → {change.new}"), origin
    if isinstance(change, (Set, Reorder)):
        return "~", path, f"{shown(change.old)} → {shown(change.new)}", origin
    return "=", path, printable(f"no longer the same object as {dotted(change.other)}"), origin


# ---- overrides


def overrides(changes: Iterable[Change]) -> list[str]:
    """The value overrides that turn the earlier config into the later one, in the order they have to be given.

    A graph does not know through which other places a ``${...}`` went, so a value may follow one that an override
    changed: compose with these, compare again, and add the overrides of what is left.
    """
    whole: dict[Path, Holder] = {}
    parts: list[str] = []
    for change in changes:
        holder = _rewritten(change.holder)
        if isinstance(change, Move):
            holder_before = _rewritten(change.old_holder)
            parts += [] if holder_before else [f"~{override_key(change.old)}"]
            whole |= {holder_before.old.path: holder_before} if holder_before else {}
        if holder is None:
            parts += _override(_earlier_path(change), change)
        elif not holder.moved:
            whole[holder.old.path] = holder
    lines: list[str] = []
    for path, holder in whole.items():
        lines += _replaced(path, as_config(holder.old), as_config(holder.new), ordered=_in_named_list(holder.outer))
    return lines + parts


def shortest(changes: Sequence[Change], before: Mapping[str, str | None], after: Mapping[str, str | None]) -> list[str]:
    """The group overrides for the groups whose choice differs, none when nothing changed.

    Compose the earlier config again with these and add the `overrides` of what still differs then.
    """
    if not changes:
        return []
    lines: list[str] = []
    for group in sorted({*before, *after}):
        if group not in after:
            lines.append(f"~{group}")
        elif group not in before:
            lines.append(f"+{group}={quote_value(after[group])}")
        elif before[group] != after[group]:
            lines.append(f"{group}={quote_value(after[group])}")
    return lines


def bridge(
    changes: Sequence[Change],
    before: Mapping[str, str | None],
    after: Mapping[str, str | None],
    compare: Callable[[list[str]], Sequence[Change]],
) -> list[str]:
    """The override line that turns the earlier config into the later one: choices of groups, then what is left.

    ``compare`` composes the earlier config with the given overrides and compares the result with the later one. A
    choice is taken when it composes and leaves less to say.
    """
    lines: list[str] = []
    left, cost = changes, len(overrides(changes))
    for choice in shortest(changes, before, after):
        try:
            closer = compare([*lines, choice])
        except ForgeError:  # Hydra adds a group below the folder of the config only
            continue
        if len(overrides(closer)) < cost:
            lines, left, cost = [*lines, choice], closer, len(overrides(closer))
    for _ in range(_ROUNDS):
        if not left:
            break
        lines = [*lines, *overrides(left)]
        left = compare(lines)
    return lines


def _override(path: Path, change: Change) -> list[str]:
    if isinstance(change, Set):
        if path[-1:] == ("_partial_",):  # the earlier config need not have the key
            return [f"++{override_key(path)}={quote_value(change.new)}"]
        ordered = _in_named_list(change.holder)
        return [] if change.computed else _replaced(path, change.old, change.text, ordered=ordered)
    if isinstance(change, Add):
        return [f"+{override_key(path)}={quote_value(change.value)}"]
    if isinstance(change, Remove):
        return _removed(override_key(path), change.value)
    if isinstance(change, Retarget):
        name = "_symbol_" if change.mode == "symbol" else "_target_"
        return [f"{override_key((*path, name))}={quote_value(change.new)}"]
    if isinstance(change, Share):
        return [f"{override_key(path)}={quote_value(_reference(change.other))}"]
    if isinstance(change, Unshare):
        return [f"{override_key(path)}={quote_value(change.value)}"]
    if isinstance(change, Move):
        users = [f"{override_key(user)}={quote_value(_reference(change.path))}" for user in change.users]
        return [f"+{override_key(path)}={quote_value(change.value)}", *users]
    return []  # an order is written with the list it belongs to


def _removed(key: str, value: object) -> list[str]:
    """Hydra does not find what is null, open or leads to such a value, and so does not remove it: give it a value."""
    unseen = value is None or (isinstance(value, str) and (value == "???" or "${" in value))
    return [f"{key}=0", f"~{key}"] if unseen else [f"~{key}"]


def _replaced(path: Path, old: object, new: object, *, ordered: bool) -> list[str]:
    """Hydra merges a mapping into a mapping and refuses a list beside a mapping: there the old value goes first."""
    key, value = override_key(path), quote_value(new)
    containers = isinstance(old, (dict, list)) and isinstance(new, (dict, list))
    if not containers or (isinstance(old, list) and isinstance(new, list)):
        return [f"{key}={value}"]
    if isinstance(path[-1], int):  # a list does not give up an item
        ordered = True
    return [f"{key}=null", f"{key}={value}"] if ordered else [f"~{key}", f"+{key}={value}"]


def _reference(path: Path) -> str:
    return f"${{{dotted(path)}}}"


def _earlier_path(change: Change) -> Path:
    """The path of a change in the earlier config, to which overrides are applied."""
    holder = change.holder
    if holder is None or isinstance(change, Remove):
        return change.path
    return holder.old.path + change.path[len(holder.new.path) :]


def _rewritten(holder: Holder | None) -> Holder | None:
    """The outermost of the containers around a change that has to be written as a whole."""
    found = None
    while holder is not None:
        if holder.moved or (holder.new.path and _only_as_a_whole(holder.old, holder.new)):
            found = holder
        holder = holder.outer
    return found


def _only_as_a_whole(old: Node, new: Node) -> bool:
    """Whether Hydra has no override for a part: lists do not grow, and not each key has a spelling."""
    if isinstance(old, Call) and isinstance(new, Call) and len(old.args) != len(new.args):
        return True
    if isinstance(old, Seq) and isinstance(new, Seq):
        ours, theirs = ([edge.key for edge in seq.items] for seq in (old, new))
        if named(old) and named(new):  # what overrides add comes last, in their order
            kept = [key for key in ours if key in set(theirs)]
            return kept + sorted(set(theirs) - set(kept), key=str) != theirs
        return named(old) or named(new) or len(ours) != len(theirs)
    return not all(isinstance(edge.key, str) and spellable(edge.key) for edge in (*_keyed(old), *_keyed(new)))


def _keyed(node: Node) -> tuple[Edge, ...]:
    return node.kwargs if isinstance(node, Call) else node.items if isinstance(node, Map) else ()


def _in_named_list(holder: Holder | None) -> bool:
    return holder is not None and isinstance(holder.new, Seq) and named(holder.new)


# ---- picture


def overlay(before: Graph, after: Graph, changes: Sequence[Change]) -> str:
    """The later graph as SVG, with what was added, changed and removed marked in it."""
    from forge.render.svg import svg  # the layout behind it is only for pictures

    graph, marks = marked(after, changes)
    return svg(replace(graph, name=f"{before.name} → {after.name}"), marks=marks)


def marked(after: Graph, changes: Iterable[Change]) -> tuple[Graph, dict[Path, Mark]]:
    """The later graph together with what was removed, and what happened at which path."""
    marks: dict[Path, Mark] = {}
    gone: dict[int, list[Edge]] = {}
    present = {node.path for node in walk(after.root)}
    for change in changes:
        if isinstance(change, Remove):
            edge = _removed_edge(change)
            if edge is not None and change.holder is not None and change.path not in present:
                gone.setdefault(id(change.holder.new), []).append(edge)
                marks |= _all_below(edge, change.path, "removed")
        elif isinstance(change, Add):
            found = _edge_at(change.holder.new, change.path) if change.holder is not None else None
            marks |= _all_below(found, change.path, "added") if found is not None else {}
        else:
            marks[change.path[:-1] if change.path[-1:] == ("_partial_",) else change.path] = "changed"
    return replace(after, root=fold(after.root, lambda node, parts: _with(node, parts, gone))), marks


def _removed_edge(change: Remove) -> Edge | None:
    return _edge_at(change.holder.old, change.path) if change.holder is not None else None


def _edge_at(holder: Node, path: Path) -> Edge | None:
    """The edge of a holder that has this path; arguments by position stand below ``_args_``."""
    steps = path[len(holder.path) :]
    items = holder.args if isinstance(holder, Call) and steps[0] == "_args_" else _keyed(holder) or edges(holder)
    return next((edge for edge in items if edge.key == steps[-1] and type(edge.key) is type(steps[-1])), None)


def _all_below(edge: Edge, path: Path, mark: Mark) -> dict[Path, Mark]:
    """A mark for a value and, when it is no reference, for all that stands inside it."""
    inside = () if edge.ref else walk(edge.node)
    return {path: mark} | {node.path: mark for node in inside if node.path[: len(path)] == path}


def _with(node: Node, parts: list[Node], gone: Mapping[int, list[Edge]]) -> Node:
    """A node with its rebuilt parts and those that it had earlier."""
    items = tuple(edge._replace(node=part) for edge, part in zip(edges(node), parts, strict=True))
    lost = tuple(gone.get(id(node), ()))
    if isinstance(node, Call):
        return replace(node, args=items[: len(node.args)], kwargs=items[len(node.args) :] + lost)
    if isinstance(node, (Map, Seq)):
        return replace(node, items=items + lost)
    return replace(node, deps=items) if isinstance(node, Expr) else node
