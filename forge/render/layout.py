"""Where the cards of a picture stand: by Graphviz when there is one, otherwise by a layout of our own.

Both give the same: a place for each card, a box for each group, and for each edge the points of its curve. Users stand
left of what they use.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import re
import shutil
import subprocess
import sysconfig
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Box", "Engine", "Line", "Placement", "Point", "Size", "dot_program", "lay_out"]

Engine: TypeAlias = Literal["auto", "graphviz", "own"]
"""Who makes the layout; ``auto`` is Graphviz when it is installed."""

_INNER: Final = re.compile(r"cluster_\d+\Z")
_AROUND: Final = 9  # room between groups, made of a second, unseen group around each
_SECONDS: Final = 20
_RANK_GAP: Final = 84.0
_CARD_GAP: Final = 26.0
_GROUP_GAP: Final = 34.0
_GROUP_MARGIN: Final = 16.0
_GROUP_TITLE: Final = 36.0
_SWEEPS: Final = 6
_LONGEST_COLUMN: Final = 7
_MOST_COLUMNS: Final = 4


class Point(NamedTuple):
    """A place; y grows downwards."""

    x: float
    y: float


class Box(NamedTuple):
    """A rectangle by its upper left corner and its size."""

    x: float
    y: float
    width: float
    height: float


class Size(NamedTuple):
    """How large a card is, where its incoming edges end (from its top), and to which group it belongs."""

    width: float
    height: float
    entry: float
    group: str = ""


class Line(NamedTuple):
    """An edge from a height of one card (from its top) to another card."""

    source: str
    height: float
    target: str


@dataclass(slots=True)
class Placement:
    """Places of cards, boxes of groups, and a curve (a start and then three points a piece) for each edge."""

    cards: dict[str, Box] = field(default_factory=dict)
    groups: dict[str, Box] = field(default_factory=dict)
    curves: list[list[Point]] = field(default_factory=list)


def lay_out(sizes: Mapping[str, Size], lines: Sequence[Line], engine: Engine = "auto") -> Placement:
    """A place for each card so that edges lead from left to right and groups stay together."""
    boxed = _boxed(sizes)
    program = dot_program() if engine != "own" else None
    if program is not None and sizes:
        found = _by_graphviz(program, sizes, lines, boxed)
        if found is not None:
            return found
    return _by_hand(sizes, lines, boxed)


def _boxed(sizes: Mapping[str, Size]) -> dict[str, list[str]]:
    """The groups that get a box: those of more than one card."""
    found: dict[str, list[str]] = {}
    for name, size in sizes.items():
        if size.group:
            found.setdefault(size.group, []).append(name)
    return {group: members for group, members in found.items() if len(members) > 1}


def _spread(sizes: Mapping[str, Size], lines: Sequence[Line]) -> dict[str, int]:
    """How many ranks further right than necessary some cards stand, so that long columns become a few short ones.

    Only cards that lead nowhere are moved: many parts of one user, and many of a group that nothing is connected to.
    """
    users: dict[str, set[str]] = {}
    for line in lines:
        users.setdefault(line.target, set()).add(line.source)
    leads = {line.source for line in lines}
    alike: dict[tuple[str, str], list[str]] = {}
    for name, size in sizes.items():
        above = users.get(name, set())
        if name not in leads and len(above) <= 1:
            alike.setdefault((next(iter(above), ""), size.group), []).append(name)
    found: dict[str, int] = {}
    for names in alike.values():
        columns = min(_MOST_COLUMNS, math.ceil(len(names) / _LONGEST_COLUMN))
        found |= {name: number % columns for number, name in enumerate(names)}
    return found


# ---- Graphviz


def dot_program() -> str | None:
    """The path of Graphviz' ``dot``, or of the one that the graphviz-pure wheel installs; None when there is none."""
    beside = os.path.join(sysconfig.get_path("scripts"), "graphviz-pure")
    return shutil.which("dot") or shutil.which("graphviz-pure") or shutil.which(beside)


def _by_graphviz(
    program: str, sizes: Mapping[str, Size], lines: Sequence[Line], boxed: Mapping[str, list[str]]
) -> Placement | None:
    """The layout that ``dot`` makes; None when it fails or takes too long."""
    text = _dot_text(sizes, lines, boxed)
    try:
        done = subprocess.run(  # noqa: S603 - Graphviz from PATH, and all its input is our own numbers
            [program, "-Tjson0"], input=text, capture_output=True, text=True, timeout=_SECONDS, check=True
        )
        return _read(json.loads(done.stdout), sizes, lines, list(boxed))
    except (OSError, subprocess.SubprocessError, ValueError, KeyError):
        return None


def _dot_text(sizes: Mapping[str, Size], lines: Sequence[Line], boxed: Mapping[str, list[str]]) -> str:
    """Cards as tables of empty cells, one for the title and one for each row that an edge leaves from."""
    exits: dict[str, list[float]] = {}
    for line in lines:
        exits.setdefault(line.source, []).append(line.height)
    head = "rankdir=LR; newrank=true; nodesep=0.3; ranksep=0.8; splines=true; node [shape=plain]; edge [dir=none, weight=2]; fontsize=18;"
    text = ["digraph {", head]
    for number, members in enumerate(boxed.values()):
        box = f'subgraph cluster_{number} {{ margin={_GROUP_MARGIN:.0f}; label=" "; {" ".join(f"{m};" for m in members)} }}'
        text.append(f'subgraph cluster_around_{number} {{ margin={_AROUND}; label=""; {box} }}')
    text += [f"{name} [label=<{_table(size, sorted(set(exits.get(name, ()))))}>];" for name, size in sizes.items()]
    further = _spread(sizes, lines)
    for number, line in enumerate(lines):
        steps = 1 + further.get(line.target, 0)
        text.append(f"{line.source}:{_port(line.height)}:e -> {line.target}:h:w [id={number}, minlen={steps}];")
    loose = [name for name in further if name not in {line.target for line in lines}]
    text += [f"{one} -> {two} [style=invis];" for one, two in itertools.pairwise(loose) if further[two]]
    return "\n".join([*text, "}"])


def _port(height: float) -> str:
    return f"p{round(height * 10)}"


def _table(size: Size, exits: Sequence[float]) -> str:
    """A cell centred on the entry, and one on each exit, with cells between them that fill the height."""
    marks = sorted([(size.entry, "h"), *((height, _port(height)) for height in exits)])
    cells: list[str] = []
    top = 0.0
    for place, (height, port) in enumerate(marks):
        below = marks[place + 1][0] if place + 1 < len(marks) else size.height
        half = min(height - top, (below - height) / 2 if place + 1 < len(marks) else below - height)
        if height - half > top:
            cells.append(_cell(size.width, height - half - top, ""))
        cells.append(_cell(size.width, 2 * half, port))
        top = height + half
    if size.height > top:
        cells.append(_cell(size.width, size.height - top, ""))
    return f'<table border="0" cellborder="0" cellspacing="0" cellpadding="0">{"".join(cells)}</table>'


def _cell(width: float, height: float, port: str) -> str:
    named = f' port="{port}"' if port else ""
    return f'<tr><td{named} fixedsize="true" width="{width:.0f}" height="{max(1, round(height))}"></td></tr>'


def _read(data: dict[str, Any], sizes: Mapping[str, Size], lines: Sequence[Line], groups: list[str]) -> Placement:
    height = _numbers(data["bb"])[3]
    found = Placement(curves=[[] for _ in lines])
    for each in data["objects"]:
        name = each["name"]
        if name in sizes:
            x, y = _numbers(each["pos"])
            size = sizes[name]
            found.cards[name] = Box(x - size.width / 2, height - y - size.height / 2, size.width, size.height)
        elif _INNER.match(name):
            left, low, right, high = _numbers(each["bb"])
            found.groups[groups[int(name[8:])]] = Box(left, height - high, right - left, high - low)
    for each in (edge for edge in data.get("edges", ()) if "id" in edge):
        points = [Point(x, height - y) for x, y in (_numbers(pair) for pair in each["pos"].split(" "))]
        line = lines[int(each["id"])]
        source, target = found.cards[line.source], found.cards[line.target]
        points[0] = Point(source.x + source.width, source.y + line.height)  # cells have whole sizes, cards need not
        points[-1] = Point(target.x, target.y + sizes[line.target].entry)
        found.curves[int(each["id"])] = points
    return found


def _numbers(text: str) -> list[float]:
    return [float(number) for number in text.split(",")]


# ---- without Graphviz


def _by_hand(sizes: Mapping[str, Size], lines: Sequence[Line], boxed: Mapping[str, list[str]]) -> Placement:
    """Ranks by the longest way from a root, cards of a group together, groups stacked where there is room."""
    rank = _ranks(sizes, lines)
    lefts = _columns(sizes, rank)
    found = Placement()
    skyline: dict[int, float] = {}
    for members in _ordered_groups(sizes, lines, rank):
        group = sizes[members[0]].group if sizes[members[0]].group in boxed else ""
        used = range(min(rank[name] for name in members), max(rank[name] for name in members) + 1)
        top = max(skyline.get(column, 0.0) for column in used)
        inner = top + (_GROUP_TITLE if group else 0.0)
        ends = _stack_members(found, sizes, members, rank, lefts, inner)
        bottom = max(ends.values())
        if group:
            left = lefts[used[0]] - _GROUP_MARGIN
            right = max(found.cards[name].x + sizes[name].width for name in members) + _GROUP_MARGIN
            found.groups[group] = Box(left, top, right - left, bottom - top + _GROUP_MARGIN)
            bottom += _GROUP_MARGIN
        skyline |= dict.fromkeys(used, bottom + _GROUP_GAP)
    columns = _filled(found.cards, rank)
    found.curves = [_curve(found.cards, sizes, line, columns, rank) for line in lines]
    return found


def _ranks(sizes: Mapping[str, Size], lines: Sequence[Line]) -> dict[str, int]:
    """How many steps the longest way from a card without users to each card has."""
    waiting = dict.fromkeys(sizes, 0)
    for line in lines:
        waiting[line.target] += 1
    below: dict[str, list[str]] = {}
    for line in lines:
        below.setdefault(line.source, []).append(line.target)
    rank = dict.fromkeys(sizes, 0)
    ready = [name for name, users in waiting.items() if not users]
    while ready:
        name = ready.pop()
        for target in below.get(name, ()):
            rank[target] = max(rank[target], rank[name] + 1)
            waiting[target] -= 1
            if not waiting[target]:
                ready.append(target)
    further = _spread(sizes, lines)
    return {name: steps + further.get(name, 0) for name, steps in rank.items()}


def _columns(sizes: Mapping[str, Size], rank: Mapping[str, int]) -> dict[int, float]:
    """The left edge of each rank."""
    widest: dict[int, float] = {}
    for name, size in sizes.items():
        widest[rank[name]] = max(widest.get(rank[name], 0.0), size.width)
    left, found = 0.0, {}
    for column in sorted(widest):
        found[column] = left
        left += widest[column] + _RANK_GAP + 2 * _GROUP_MARGIN
    return found


def _ordered_groups(sizes: Mapping[str, Size], lines: Sequence[Line], rank: Mapping[str, int]) -> list[list[str]]:
    """The cards of each group, groups and cards in an order with few crossings: each near its neighbours' mean."""
    near: dict[str, list[str]] = {name: [] for name in sizes}
    for line in lines:
        near[line.target].append(line.source)
        near[line.source].append(line.target)
    place = {name: float(number) for number, name in enumerate(sizes)}
    groups: dict[str, list[str]] = {}
    for name, size in sizes.items():
        groups.setdefault(size.group or name, []).append(name)
    for _ in range(_SWEEPS):
        wish = {
            name: sum(place[other] for other in near[name]) / len(near[name]) if near[name] else place[name]
            for name in sizes
        }
        middle = {key: sum(wish[name] for name in members) / len(members) for key, members in groups.items()}
        order = sorted(groups, key=lambda key: middle[key])
        flat = [name for key in order for name in sorted(groups[key], key=lambda name: wish[name])]
        place = {name: float(number) for number, name in enumerate(flat)}
    return [sorted(groups[key], key=lambda name: (rank[name], place[name])) for key in order]


def _stack_members(
    found: Placement,
    sizes: Mapping[str, Size],
    members: Sequence[str],
    rank: Mapping[str, int],
    lefts: Mapping[int, float],
    top: float,
) -> dict[int, float]:
    """Put the cards of one group below each other in their columns; where each column ends."""
    ends: dict[int, float] = {}
    for name in members:
        column = rank[name]
        y = ends[column] + _CARD_GAP if column in ends else top
        found.cards[name] = Box(lefts[column], y, sizes[name].width, sizes[name].height)
        ends[column] = y + sizes[name].height
    return ends


def _filled(cards: Mapping[str, Box], rank: Mapping[str, int]) -> dict[int, list[Box]]:
    """The cards of each rank, from top to bottom."""
    found: dict[int, list[Box]] = {}
    for name in sorted(cards, key=lambda name: cards[name].y):
        found.setdefault(rank[name], []).append(cards[name])
    return found


def _curve(
    cards: Mapping[str, Box],
    sizes: Mapping[str, Size],
    line: Line,
    columns: Mapping[int, list[Box]],
    rank: Mapping[str, int],
) -> list[Point]:
    """A curve from card to card that goes between the cards of the ranks it has to pass."""
    source, target = cards[line.source], cards[line.target]
    points = [Point(source.x + source.width, source.y + line.height)]
    end = Point(target.x, target.y + sizes[line.target].entry)
    for column in range(rank[line.source] + 1, rank[line.target]):
        boxes = columns[column]
        left, right = boxes[0].x, max(box.x + box.width for box in boxes)
        share = (left - points[-1].x) / max(1.0, end.x - points[-1].x)
        y = _free(boxes, points[-1].y + share * (end.y - points[-1].y))
        points += [*_bent(points[-1], Point(left, y)), Point(left, y), Point(right, y), Point(right, y)]
    return [*points, *_bent(points[-1], end)]


def _bent(start: Point, end: Point) -> list[Point]:
    """The rest of a curve that leaves and arrives level."""
    bend = max(20.0, (end.x - start.x) / 2)
    return [Point(start.x + bend, start.y), Point(end.x - bend, end.y), end]


def _free(boxes: Sequence[Box], wish: float) -> float:
    """The height nearest to the wish at which a line passes between the cards of a rank."""
    room = _CARD_GAP / 2
    free = [boxes[0].y - room, *(box.y + box.height + room for box in boxes)]
    inside = any(box.y - room < wish < box.y + box.height + room for box in boxes)
    return min(free, key=lambda y: abs(y - wish)) if inside else wish
