"""A plan as a picture: who sits where in the mesh, what each stage holds, and what each does when."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Final

from forge.base.sizes import shown_size
from forge.plan.waiting import played, waits

if TYPE_CHECKING:
    from collections.abc import Sequence

    from forge.plan.memory import RankMemory
    from forge.plan.pipeline import StageWork
    from forge.plan.report import RunPlan

__all__ = ["plan_svg"]

_WIDTH: Final = 1200
_MARGIN: Final = 28
_LEFT: Final = 96
_ROW: Final = 30
_BAR: Final = 22
_MOST_NODES: Final = 8
_MOST_RANKS: Final = 16
_WIDEST_UNIT: Final = 26.0
_NUMBERED: Final = 12.0
_HUES: Final = (214, 158, 32, 276, 338, 190, 96, 52)
_PARTS: Final = (
    ("weights", "weights", "p0"),
    ("gradients", "gradients", "p1"),
    ("optimizer", "optimizer state", "p2"),
    ("activations", "activations", "p3"),
    ("logits", "loss", "p4"),
    ("gathered", "gathered weights", "p5"),
)
_KINDS: Final = (("F", "forward"), ("B", "backward"), ("I", "backward, inputs"), ("W", "backward, weights"))

_STYLE: Final = """\
text { font-family: ui-sans-serif, system-ui, -apple-system, "Segoe UI", Roboto, Helvetica, Arial, sans-serif; fill: #1f2430; }
.title { font-size: 19px; font-weight: 600; } .head { font-size: 14px; font-weight: 600; }
.note, .label { font-size: 12px; fill: #5d6678; } .label { text-anchor: end; }
.rank { font-size: 12px; font-weight: 600; text-anchor: middle; } .place { font-size: 10px; text-anchor: middle; }
.number { font-size: 10px; text-anchor: middle; } .page { fill: #ffffff; } .node { fill: #f3f5f8; stroke: #c6ccd6; }
.track { fill: #eef0f4; } .limit { stroke: #5d6678; stroke-dasharray: 4 3; }
"""
_DARK: Final = """\
text { fill: #e4e8ee; } .note, .label { fill: #95a0af; } .page { fill: #0f1318; }
.node { fill: #171c23; stroke: #3b4451; } .track { fill: #1b2129; } .limit { stroke: #95a0af; }
"""


def plan_svg(plan: RunPlan, per_node: int) -> str:
    """The picture as SVG, for light and dark pages."""
    drawn = _Drawn()
    drawn.text(_MARGIN, "title", f"{plan.name}: {plan.setup.ranks} x {plan.setup.device}, {_degrees(plan)}", 30)
    _mesh(drawn, plan, per_node)
    _memory(drawn, plan.memory)
    if plan.setup.layout.pp > 1:
        _schedule(drawn, plan)
    return drawn.finished()


class _Drawn:
    """What has been drawn so far, from the top down."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.y = 12.0

    def text(self, x: float, kind: str, text: str, down: float = 0.0, *, y: float | None = None) -> None:
        self.y += down
        at = self.y if y is None else y
        self.parts.append(f'<text class="{kind}" x="{x:.1f}" y="{at:.1f}">{escape(text)}</text>')

    def box(
        self, x: float, y: float, width: float, height: float, kind: str, title: str = "", round_: float = 3
    ) -> None:
        tip = f"<title>{escape(title)}</title>" if title else ""
        self.parts.append(
            f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{max(width, 0.5):.1f}" height="{height:.1f}" '
            f'rx="{round_:g}">{tip}</rect>'
        )

    def finished(self) -> str:
        height = self.y + _MARGIN
        light, dark = _colours(dark=False), _colours(dark=True)
        style = f"{_STYLE}{light}@media (prefers-color-scheme: dark) {{\n{_DARK}{dark}}}\n"
        head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height:.0f}" width="{_WIDTH}" height="{height:.0f}">'
        page = f'<rect class="page" width="{_WIDTH}" height="{height:.0f}"/>'
        return "\n".join([head, f"<style>{style}</style>", page, *self.parts, "</svg>", ""])


def _colours(*, dark: bool) -> str:
    """A hue for each stage and each part of the memory."""
    lines = []
    for place, hue in enumerate(_HUES):
        soft, strong = ("26%", "42%") if dark else ("86%", "66%")
        lines.append(f".s{place} {{ fill: hsl({hue} 45% {soft}); }} .p{place} {{ fill: hsl({hue} 50% {strong}); }}")
    shades = {"F": ("68%", "34%"), "B": ("52%", "50%"), "I": ("58%", "44%"), "W": ("80%", "24%")}
    for place, hue in enumerate(_HUES):
        lines += [f".w{kind}{place} {{ fill: hsl({hue} 48% {shade[dark]}); }}" for kind, shade in shades.items()]
    return "\n".join(lines) + "\n"


def _degrees(plan: RunPlan) -> str:
    layout = plan.setup.layout
    names = ("pp", "dp_replicate", "dp_shard", "cp", "tp")
    return (
        " x ".join(f"{name} {getattr(layout, name)}" for name in names if getattr(layout, name) > 1)
        or "nothing divided"
    )


def _mesh(drawn: _Drawn, plan: RunPlan, per_node: int) -> None:
    ranks = plan.setup.ranks
    nodes = -(-ranks // per_node)
    drawn.text(_MARGIN, "head", "Mesh", 34)
    drawn.y += 12
    columns = min(per_node, ranks, _MOST_RANKS)
    width = min(120.0, (_WIDTH - 2 * _MARGIN - _LEFT) / columns)
    for node in range(min(nodes, _MOST_NODES)):
        members = range(node * per_node, min(ranks, (node + 1) * per_node))[:columns]
        drawn.box(_MARGIN, drawn.y, _LEFT + width * len(members), 46, "node", round_=6)
        drawn.text(_MARGIN + 12, "note", f"node {node}", y=drawn.y + 27)
        for column, rank in enumerate(members):
            _rank(drawn, plan, rank, _MARGIN + _LEFT - 12 + column * width, width - 8)
        drawn.y += 54
    hidden = ranks - min(nodes, _MOST_NODES) * columns
    if hidden > 0:
        drawn.text(_MARGIN, "note", f"and {hidden} more processes in the same order", 8)


def _rank(drawn: _Drawn, plan: RunPlan, rank: int, x: float, width: float) -> None:
    place = _place(plan, rank)
    names = [f"{name} {number}" for name, number in place.items() if getattr(plan.setup.layout, name) > 1]
    drawn.box(x, drawn.y + 6, width, 34, f"s{place['pp'] % len(_HUES)}", f"process {rank}: {', '.join(names)}")
    drawn.text(x + width / 2, "rank", str(rank), y=drawn.y + 20)
    short = " ".join(
        name.replace("dp_replicate", "rep").replace("dp_shard", "shard").replace(" ", "") for name in names
    )
    if len(short) * 5.2 <= width:
        drawn.text(x + width / 2, "place", short, y=drawn.y + 34)


def _place(plan: RunPlan, rank: int) -> dict[str, int]:
    """Where a process sits in each dimension, the outermost first."""
    layout = plan.setup.layout
    found = {}
    for name in ("tp", "cp", "dp_shard", "dp_replicate", "pp"):
        rank, found[name] = divmod(rank, getattr(layout, name))
    return dict(reversed(found.items()))


def _memory(drawn: _Drawn, memory: Sequence[RankMemory]) -> None:
    drawn.text(_MARGIN, "head", "Memory of a process", 34)
    _legend(drawn, [(name, kind) for key, name, kind in _PARTS if any(getattr(one, key) for one in memory)])
    most = max(max(one.peak, sum(getattr(one, key) for key, _, _ in _PARTS)) for one in memory)
    scale = (_WIDTH - 2 * _MARGIN - _LEFT - 90) / most
    for one in memory[: 2 * _MOST_NODES]:
        _memory_bar(drawn, one, scale, len(memory))


def _memory_bar(drawn: _Drawn, one: RankMemory, scale: float, count: int) -> None:
    x = float(_MARGIN + _LEFT)
    name = f"pp {one.place}" if count > 1 else "each"
    drawn.text(x - 10, "label", name, y=drawn.y + 15)
    for key, title, kind in _PARTS:
        size = getattr(one, key)
        if size:
            drawn.box(x, drawn.y, size * scale, _BAR, kind, f"{title}: {shown_size(size)}", 0)
            x += size * scale
    peak = _MARGIN + _LEFT + one.peak * scale
    drawn.parts.append(
        f'<line class="limit" x1="{peak:.1f}" x2="{peak:.1f}" y1="{drawn.y - 2:.1f}" y2="{drawn.y + _BAR + 2:.1f}"/>'
    )
    drawn.text(max(x, peak) + 8, "note", f"peak {shown_size(one.peak)}", y=drawn.y + 15)
    drawn.y += _ROW


def _schedule(drawn: _Drawn, plan: RunPlan) -> None:
    layout = plan.setup.layout
    rows = played(plan.setup)
    used = {work.kind for row in rows for work in row if work.end > work.start}
    title = f"Schedule {layout.pp_schedule}, {plan.setup.whole_step.microbatches} microbatches: waits {waits(plan.setup):.1%} of the time"
    drawn.text(_MARGIN, "head", title, 34)
    chunks = layout.stages_per_rank
    _legend(
        drawn,
        [
            (f"{name}{_chunk(chunk, chunks)}", f"w{kind}{chunk % len(_HUES)}")
            for chunk in range(min(chunks, 4))
            for kind, name in _KINDS
            if kind in used
        ],
    )
    end = max(work.end for row in rows for work in row)
    unit = min(_WIDEST_UNIT, (_WIDTH - 2 * _MARGIN - _LEFT) / end)
    for place, row in enumerate(rows):
        _schedule_row(drawn, plan, place, row, unit, end)


def _chunk(chunk: int, chunks: int) -> str:
    return f", stage {chunk + 1} of {chunks}" if chunks > 1 else ""


def _schedule_row(drawn: _Drawn, plan: RunPlan, place: int, row: Sequence[StageWork], unit: float, end: float) -> None:
    left = float(_MARGIN + _LEFT)
    drawn.text(left - 10, "label", f"pp {place}", y=drawn.y + 15)
    drawn.box(left, drawn.y, end * unit, _BAR, "track", round_=0)
    stages = plan.setup.layout.stages_of(place)
    for work in (each for each in row if each.end > each.start):
        x, width = left + work.start * unit, (work.end - work.start) * unit
        kind = f"w{work.kind}{stages.index(work.stage) % len(_HUES)}"
        layers = len(plan.setup.stages[work.stage])
        title = f"{dict(_KINDS)[work.kind]}, stage {work.stage} of {layers} layers, microbatch {work.microbatch}"
        drawn.box(x + 0.5, drawn.y + 1, width - 1, _BAR - 2, kind, title, 2)
        if width >= _NUMBERED:
            drawn.text(x + width / 2, "number", str(work.microbatch), y=drawn.y + 15)
    drawn.y += _ROW


def _legend(drawn: _Drawn, entries: Sequence[tuple[str, str]]) -> None:
    drawn.y += 12
    x = float(_MARGIN)
    for name, kind in entries:
        if x + 30 + len(name) * 7 > _WIDTH - _MARGIN:
            x, drawn.y = float(_MARGIN), drawn.y + 20
        drawn.box(x, drawn.y, 12, 12, kind)
        drawn.text(x + 18, "note", name, y=drawn.y + 10)
        x += 36 + len(name) * 6.4
    drawn.y += 24
