"""What differs between two graphs, as a short list of changes.

Values are aligned by their path; what is left is aligned by target and user, so that a renamed object is one `Move`
and not a removal beside an addition. Where things were as_config, and in which order a mapping lists its keys, is no
difference.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from forge.graph.align import contents, head, named, place_table
from forge.graph.change import Add, Holder, Move, Remove, Reorder, Retarget, Set, Share, Unshare, as_config
from forge.graph.equal import equal
from forge.graph.node import Call, Const, Expr, Missing, Seq
from forge.graph.walk import edges

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

    from forge.base.paths import Path
    from forge.graph.align import Place, PlaceTable, Slot
    from forge.graph.change import Change, Origins
    from forge.graph.node import Graph, Node

__all__ = ["diff"]


def diff(before: Graph, after: Graph) -> tuple[Change, ...]:
    """The changes that turn one graph into the other, sorted by path; none when the graphs are equal."""
    if equal(before.root, after.root):
        return ()
    numbers = contents(before.root, after.root)
    earlier = place_table(before.root)
    moved: dict[Place, Place] = {}
    while True:
        later = place_table(after.root, earlier, numbers, moved)
        comparison = _Comparison(earlier, later, set(moved.values()))
        found = _moves(comparison, numbers)
        if not found:
            return comparison.changes()
        moved |= found


class _Comparison:
    """Compares place by place, holders first; below a place that differs as a whole nothing is compared."""

    def __init__(self, earlier: PlaceTable, later: PlaceTable, moved: set[Place]) -> None:
        self.earlier, self.later, self.moved = earlier, later, moved
        self._referring = [slot for slot in later.values() if slot.shared]
        self.removed: list[Slot] = []
        self.added: list[Slot] = []
        self._changes: list[Change] = []
        self._holders: dict[Place, Holder] = {}
        self._closed: set[Place] = set()
        for place in [*earlier, *(place for place in later if place not in earlier)]:
            if place[:-1] in self._closed and place:
                self._closed.add(place)
            else:
                self._compare(place, earlier.get(place), later.get(place))
        self._changes += [self._move(earlier[place], later[place]) for place in moved]

    def changes(self) -> tuple[Change, ...]:
        """All that was found, by path, lists in the order of their positions."""
        return tuple(sorted(self._changes, key=lambda change: [_sortable(key) for key in change.path]))

    def _compare(self, place: Place, old: Slot | None, new: Slot | None) -> None:
        outer = self._holders.get(place[:-1])
        if old is None or new is None:
            self._closed.add(place)
            self._one_sided(old, new, outer)
            return
        if old.shared or new.shared:
            self._changes.extend(_sharing(old, new, outer))
            self._closed.add(place)
            return
        found = list(_heads(old, new, outer))
        self._changes.extend(found)
        if any(isinstance(change, Set) and change.path == new.path for change in found):
            self._closed.add(place)
        self._holders[place] = Holder(old.node, new.node, place in self.moved, outer)

    def _move(self, old: Slot, new: Slot) -> Move:
        users = tuple(slot.path for slot in self._referring if slot.home[: len(new.place)] == new.place)
        return Move(
            new.path,
            old.path,
            as_config(new.node),
            (old.origin, new.origin),
            users=users,
            holder=self._holders.get(new.owner),
            old_holder=self._holders.get(old.owner),
        )

    def _one_sided(self, old: Slot | None, new: Slot | None, outer: Holder | None) -> None:
        if old is not None and not old.outside:
            value = as_config(old.node, ref=old.ref)
            self._changes.append(Remove(old.path, value, old.origin, holder=outer))
            self.removed.append(old)
        if new is not None and not new.outside:
            value = as_config(new.node, ref=new.ref)
            self._changes.append(Add(new.path, value, new.origin, holder=outer))
            self.added.append(new)


def _sortable(key: object) -> tuple[int, int, str]:
    return (0, key, "") if isinstance(key, int) else (1, 0, str(key))


def _sharing(old: Slot, new: Slot, outer: Holder | None) -> Iterator[Change]:
    """The change at a place where at least one graph refers to an object that lives elsewhere."""
    if old.home == new.home:
        return
    origins = (old.origin, new.origin)
    if _leaf(old.node) and _leaf(new.node):  # two equal values cannot be told apart, shared or not
        if not equal(old.node, new.node):
            config = as_config(new.node, ref=new.ref)
            yield Set(new.path, _value(old.node), _value(new.node), origins, text=config, holder=outer)
    elif new.shared:
        yield Share(new.path, new.node.path, origins, holder=outer)
    else:
        yield Unshare(new.path, old.node.path, as_config(new.node), origins, holder=outer)


def _heads(old: Slot, new: Slot, outer: Holder | None) -> Iterator[Change]:
    """The changes of a node itself; a `Set` of its own path says that it changed as a whole."""
    a, b, origins = old.node, new.node, (old.origin, new.origin)
    if isinstance(a, Expr) or isinstance(b, Expr):
        yield from _computed(old, new, outer)
    elif isinstance(a, Call) and isinstance(b, Call) and _symbolic(a) == _symbolic(b):
        if a.target != b.target:
            yield Retarget(new.path, a.target, b.target, (a.target_origin, b.target_origin), b.mode, holder=outer)
        if a.mode != b.mode:
            flag = b.mode == "partial"
            holder = Holder(a, b, moved=False, outer=outer)
            yield Set((*new.path, "_partial_"), not flag, flag, origins, text=flag, holder=holder)
    elif type(a) is not type(b) or _symbolic(a) != _symbolic(b) or _leaves(a) != _leaves(b):
        yield Set(new.path, _value(a), _value(b), origins, text=as_config(b), holder=outer)
    elif isinstance(a, Seq) and isinstance(b, Seq):
        yield from _reordered(a, b, new.path, origins, outer)


def _computed(old: Slot, new: Slot, outer: Holder | None) -> Iterator[Change]:
    """The change between two values of which at least one is computed from others; a text that changes nothing is none."""
    a, b = old.node, new.node
    if not equal(a, b):
        same = isinstance(a, Expr) and isinstance(b, Expr) and a.text == b.text
        origins = (old.origin, new.origin)
        yield Set(new.path, _value(a), _value(b), origins, computed=same, text=as_config(b), holder=outer)


def _reordered(a: Seq, b: Seq, path: Path, origins: Origins, outer: Holder | None) -> Iterator[Change]:
    names = [[edge.key for edge in seq.items if isinstance(edge.key, str)] for seq in (a, b)]
    kept = [[name for name in names[i] if name in set(names[1 - i])] for i in (0, 1)]
    if kept[0] != kept[1]:
        yield Reorder(path, tuple(names[0]), tuple(names[1]), origins, holder=outer)


def _symbolic(node: Node) -> bool:
    return isinstance(node, Call) and node.mode == "symbol"


def _leaves(node: Node) -> Hashable:
    """What a node is when it holds plain values only; of other containers the parts are compared one by one."""
    if isinstance(node, Seq):
        return tuple(head(edge.node) for edge in node.items) if _plain(node) else ()
    return head(node) if isinstance(node, Const) else ()


def _plain(seq: Seq) -> bool:
    """Whether a list holds nothing but values of its own, so that it is best shown and written as a whole."""
    return all(isinstance(edge.node, (Const, Missing)) and not edge.ref for edge in seq.items) and not named(seq)


def _value(node: Node) -> object:
    """What a value is, for the eye: what an expression came to rather than its text."""
    return node.value if isinstance(node, Expr) else as_config(node)


def _leaf(node: Node) -> bool:
    return isinstance(node, (Const, Expr, Missing)) or _symbolic(node)


def _moves(comparison: _Comparison, numbers: dict[int, int]) -> dict[Place, Place]:
    """Earlier place by new place of objects that were renamed: same head, and the same user, content or holder."""
    old_users, new_users = _users(comparison.earlier), _users(comparison.later)
    removed = [(slot, old_users.get(slot.place, [])) for slot in comparison.removed if _movable(slot)]
    added = [(slot, new_users.get(slot.place, [])) for slot in comparison.added if _movable(slot)]
    found: dict[Place, Place] = {}
    taken: set[Place] = set()
    for fact in ("user", "content", "holder"):
        olds = _by_fact(fact, removed, taken, numbers)
        news = _by_fact(fact, added, set(found), numbers)
        for key, ones in olds.items():
            twos = news.get(key, [])
            if fact == "holder" and (len(ones), len(twos)) != (1, 1):
                continue  # which one became which is anybody's guess
            for one, two in zip(ones, twos, strict=False):
                if two not in found and one not in taken:
                    found[two] = one
                    taken.add(one)
    return found


def _by_fact(
    fact: str, slots: list[tuple[Slot, list[Place]]], taken: set[Place], numbers: dict[int, int]
) -> dict[Hashable, list[Place]]:
    index: dict[Hashable, list[Place]] = {}
    for slot, users in slots:
        if slot.place in taken:
            continue
        facts: dict[str, list[Hashable]] = {
            "user": [*users],
            "content": [numbers[id(slot.node)]],
            "holder": [slot.place[:-1]] if isinstance(slot.node, Call) else [],
        }
        for known in facts[fact]:
            index.setdefault((type(slot.node), head(slot.node), known), []).append(slot.place)
    return index


def _movable(slot: Slot) -> bool:
    return not slot.shared and not _leaf(slot.node) and (isinstance(slot.node, Call) or bool(edges(slot.node)))


def _users(table: PlaceTable) -> dict[Place, list[Place]]:
    """The places that refer to each home."""
    found: dict[Place, list[Place]] = {}
    for slot in table.values():
        if slot.shared:
            found.setdefault(slot.home, []).append(slot.place)
    return found
