"""Draws screens of a terminal as one SVG that shows them in turn: text and colours, no script, nothing from elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any, NamedTuple

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


def _look(cell: Any) -> tuple[str, str, bool, bool, bool]:
    """Colour, ground (empty: the window's), bold, italic, underlined."""
    letters, ground = cell.fg, "" if cell.bg == "default" else cell.bg
    if cell.reverse:
        letters, ground = ground or "ground", letters
    return letters, ground, cell.bold, cell.italics, cell.underscore


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
    shown = frames if only is None else [frames[only]]
    parts = list(_parts(shown, lines, palette))
    whole = sum(frame.seconds for frame in shown)
    moments = [sum(frame.seconds for frame in shown[:number]) for number in range(len(shown) + 1)]
    spans = dict.fromkeys((first, last) for first, last, _ in parts if (first, last) != (0, len(shown)))
    names = {span: f"f{number}" for number, span in enumerate(spans)}
    rules = [_rule(names[span], moments[span[0]] / whole, moments[span[1]] / whole, whole) for span in spans]
    groups = [f'<g class="{names.get((first, last), "all")}">{drawn}</g>' for first, last, drawn in parts]
    font = "ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace"
    dots = "".join(
        f'<circle cx="{_MARGIN + 6 + 18 * at}" cy="{_BAR / 2}" r="5" fill="{palette["edge"]}"/>' for at in range(3)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}" '
        f'role="img" aria-label="{escape(title)}">\n'
        f"<style>text{{font:14px {font};white-space:pre}}.b{{font-weight:700}}.i{{font-style:italic}}"
        f".u{{text-decoration:underline}}{''.join(rules)}"
        "@media (prefers-reduced-motion:reduce){g{animation:none!important}}</style>\n"
        f'<rect x=".5" y=".5" width="{width - 1:g}" height="{height - 1:g}" rx="8" fill="{palette["ground"]}" '
        f'stroke="{palette["edge"]}"/>\n'
        f'{dots}<text x="{width / 2:g}" y="{_BAR / 2 + 5:g}" text-anchor="middle" fill="{palette["brightblack"]}">'
        f"{escape(title)}</text>\n"
        f'<g transform="translate({_MARGIN},{_BAR})">\n' + "\n".join(groups) + "\n</g></svg>\n"
    )


def _parts(frames: Sequence[Frame], lines: int, palette: Mapping[str, str]) -> Iterator[tuple[int, int, str]]:
    """What is drawn from one frame up to another: a line that stays as it is is drawn once."""
    for row in (*range(lines), None):
        start, before = 0, ""
        for number in range(len(frames) + 1):
            here = "" if number == len(frames) else "".join(_drawn(frames[number], row, palette))
            if here != before or number == len(frames):
                if before:
                    yield start, number, before
                start, before = number, here


def _rule(name: str, begin: float, end: float, whole: float) -> str:
    """Shows a part in its time; where nothing moves, what is there at the end stays."""
    last = int(end > 1 - 1e-9)
    shown = f"{100 * begin:.3f}%{{opacity:1}}" + ("" if last else f"{100 * end:.3f}%{{opacity:0}}")
    stops = shown if begin == 0 else f"0%{{opacity:0}}{shown}"
    return (
        f"@keyframes {name}{{{stops}100%{{opacity:{last}}}}}"
        f".{name}{{opacity:{last};animation:{name} {whole:g}s step-end infinite}}"
    )


def _drawn(frame: Frame, row: int | None, palette: Mapping[str, str]) -> Iterator[str]:
    """One line of a frame, or, without a number, its cursor."""
    for run in frame.runs:
        if run.row != row:
            continue
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
    if row is None and frame.cursor is not None:
        line, column = frame.cursor
        yield (
            f'<rect x="{column * WIDTH:g}" y="{line * HEIGHT:g}" width="{WIDTH:g}" height="{HEIGHT:g}" '
            f'fill="{palette["default"]}" opacity=".5"/>'
        )


def _colour(name: str, palette: Mapping[str, str]) -> str:
    return palette.get(name) or palette.get(name.removeprefix("bright")) or f"#{name}"
