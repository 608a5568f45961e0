"""Draws screens of a terminal as one SVG that shows them in turn: text and colours, no script, nothing from elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from screens import Terminal

WIDTH, HEIGHT = 8.4, 18.0
"""A cell, in pixels."""
_MARGIN, _BAR = 14, 34
_BASELINE = 13.5

DARK = {
    "ground": "#1b1f27",
    "edge": "#3a414d",
    "default": "#d5dae3",
    "black": "#1b1f27",
    "red": "#ff7b72",
    "green": "#7ee787",
    "brown": "#e3b341",
    "blue": "#79c0ff",
    "magenta": "#d2a8ff",
    "cyan": "#76d9e6",
    "white": "#d5dae3",
    "brightblack": "#8b949e",
}
LIGHT = {
    "ground": "#ffffff",
    "edge": "#c8ccd2",
    "default": "#24292f",
    "black": "#24292f",
    "red": "#cf222e",
    "green": "#116329",
    "brown": "#7d4e00",
    "blue": "#0550ae",
    "magenta": "#8250df",
    "cyan": "#0b6e75",
    "white": "#6e7781",
    "brightblack": "#6e7781",
}


class Run(NamedTuple):
    """Letters of one look, side by side."""

    row: int
    column: int
    text: str
    colour: str
    ground: str
    bold: bool
    italic: bool
    underlined: bool


@dataclass(frozen=True)
class Frame:
    """A screen, and for how many seconds it is shown."""

    runs: tuple[Run, ...]
    cursor: tuple[int, int] | None
    seconds: float


def frame_of(terminal: Terminal, seconds: float) -> Frame:
    """The screen as it is now."""
    screen = terminal.screen
    runs = [run for row in range(screen.lines) for run in _runs(terminal, row)]
    return Frame(tuple(runs), None if screen.cursor.hidden else (screen.cursor.y, screen.cursor.x), seconds)


def _runs(terminal: Terminal, row: int) -> Iterator[Run]:
    line = terminal.screen.buffer[row]
    start, text, look = 0, "", None
    for column in range(terminal.screen.columns + 1):
        cell = line[column] if column < terminal.screen.columns else None
        here = cell and _look(cell)
        if here != look:
            if look is not None and (text.strip() or look[1] or look[4]):
                yield Run(row, start, text, *look)
            start, text, look = column, "", here
        if cell is not None:
            text += cell.data


def _look(cell: object) -> tuple[str, str, bool, bool, bool]:
    """Colour, ground (empty: the window's), bold, italic, underlined."""
    fg, bg = getattr(cell, "fg", "default"), getattr(cell, "bg", "default")
    if getattr(cell, "reverse", False):
        fg, bg = ("ground" if bg == "default" else bg), fg
    ground = "" if bg == "default" else "text" if bg == "default-reversed" else bg
    if getattr(cell, "reverse", False) and bg == "default":
        ground = "default"
    return (
        fg,
        ground,
        bool(getattr(cell, "bold", 0)),
        bool(getattr(cell, "italics", 0)),
        bool(getattr(cell, "underscore", 0)),
    )


def draw(
    frames: Sequence[Frame],
    title: str,
    columns: int,
    lines: int,
    palette: Mapping[str, str] = DARK,
    only: int | None = None,
) -> str:
    """The picture; ``only`` draws one frame of it, standing still."""
    width, height = columns * WIDTH + 2 * _MARGIN, lines * HEIGHT + _BAR + _MARGIN
    whole = sum(frame.seconds for frame in frames)
    shown = frames if only is None else [frames[only]]
    rules, groups, passed = [], [], 0.0
    for number, frame in enumerate(shown):
        if only is None:
            begin, end = (100 * moment / whole for moment in (passed, passed + frame.seconds))
            rules.append(_rule(number, begin, end, whole, last=number == len(shown) - 1))
            passed += frame.seconds
        groups.append(f'<g class="f{number}">{"".join(_drawn(frame, palette))}</g>')
    font = "ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace"
    dots = "".join(
        f'<circle cx="{_MARGIN + 6 + 18 * at}" cy="{_BAR / 2}" r="5" fill="{palette["edge"]}"/>' for at in range(3)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}" '
        f'role="img" aria-label="{escape(title)}">\n'
        f"<style>text{{font:14px {font};white-space:pre}}.b{{font-weight:700}}.i{{font-style:italic}}"
        f".u{{text-decoration:underline}}{''.join(rules)}</style>\n"
        f'<rect x=".5" y=".5" width="{width - 1:g}" height="{height - 1:g}" rx="8" fill="{palette["ground"]}" '
        f'stroke="{palette["edge"]}"/>\n'
        f'{dots}<text x="{width / 2:g}" y="{_BAR / 2 + 5:g}" text-anchor="middle" fill="{palette["brightblack"]}">'
        f"{escape(title)}</text>\n"
        f'<g transform="translate({_MARGIN},{_BAR})">\n' + "\n".join(groups) + "\n</g></svg>\n"
    )


def _rule(number: int, begin: float, end: float, whole: float, *, last: bool) -> str:
    """Shows a frame in its time; where nothing moves, the last one stays."""
    stops = f"0%{{opacity:{int(begin == 0)}}}{begin:.2f}%{{opacity:1}}" + ("" if last else f"{end:.2f}%{{opacity:0}}")
    return (
        f"@keyframes f{number}{{{stops}100%{{opacity:{int(last)}}}}}"
        f".f{number}{{opacity:{int(last)};animation:f{number} {whole:g}s step-end infinite}}"
    )


def _drawn(frame: Frame, palette: Mapping[str, str]) -> Iterator[str]:
    for run in frame.runs:
        x, y, width = run.column * WIDTH, run.row * HEIGHT, len(run.text) * WIDTH
        if run.ground:
            yield f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{HEIGHT:g}" fill="{_colour(run.ground, palette)}"/>'
        text = run.text.rstrip() if not run.underlined else run.text
        start = len(text) - len(text.lstrip())
        text = text.strip()
        if not text:
            continue
        kinds = "".join(letter for letter, on in zip("biu", (run.bold, run.italic, run.underlined), strict=True) if on)
        named = f' class="{" ".join(kinds)}"' if kinds else ""
        yield (
            f'<text x="{x + start * WIDTH:g}" y="{y + _BASELINE:g}" textLength="{len(text) * WIDTH:g}"{named} '
            f'fill="{_colour(run.colour, palette)}">{escape(text, quote=False)}</text>'
        )
    if frame.cursor is not None:
        row, column = frame.cursor
        yield (
            f'<rect x="{column * WIDTH:g}" y="{row * HEIGHT:g}" width="{WIDTH:g}" height="{HEIGHT:g}" '
            f'fill="{palette["default"]}" opacity=".5"/>'
        )


def _colour(name: str, palette: Mapping[str, str]) -> str:
    return palette.get(name) or palette.get(name.removeprefix("bright")) or f"#{name}"
