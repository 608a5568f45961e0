"""Which files made a config, and which file named which: as a tree, a list, Markdown, Graphviz or SVG."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from forge.base.origin import shown_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from forge.compose.composed import Composed

__all__ = ["SOURCE_FORMS", "Source", "draw_sources", "sources"]


class Source(NamedTuple):
    """A file that took part in a config: its name, which config named it, and where its content went."""

    config: str
    file: str
    parent: str | None
    package: str
    layer: str
    depth: int


def sources(composed: Composed) -> list[Source]:
    """The files of a config as a tree in depth-first order, the config itself first."""
    below: dict[str | None, list[int]] = {}
    known = {used.config for used in composed.files}
    for position, used in enumerate(composed.files):
        parent = used.parent if used.parent in known and used.parent != used.config else None
        below.setdefault(parent, []).append(position)
    found: list[Source] = []
    seen: set[int] = set()
    stack = [(position, 0) for position in reversed(below.get(None, []))]
    while stack:
        position, depth = stack.pop()
        if position in seen:
            continue
        seen.add(position)
        used = composed.files[position]
        found.append(Source(used.config, used.file, used.parent, used.package, used.layer, depth))
        if used.config not in {source.config for source in found[:-1]}:
            stack.extend((child, depth + 1) for child in reversed(below.get(used.config, [])))
    return found


def draw_sources(composed: Composed, form: str) -> str:
    """The files of a config in one of `SOURCE_FORMS`."""
    return SOURCE_FORMS[form](sources(composed))


def _tree(found: Sequence[Source]) -> str:
    return "\n".join(f"{lead}{_label(source)}" for lead, source in zip(_leads(found), found, strict=True))


def _leads(found: Sequence[Source]) -> Iterator[str]:
    """The lines drawn before each entry of a tree."""
    for position, source in enumerate(found):
        if not source.depth:
            yield ""
            continue
        parts = ["├── " if _has_next(found, position, source.depth) else "└── "]
        parts += ["│   " if _has_next(found, position, depth) else "    " for depth in range(source.depth - 1, 0, -1)]
        yield "".join(reversed(parts))


def _has_next(found: Sequence[Source], position: int, depth: int) -> bool:
    """Whether a later entry stands at this depth before the tree goes back above it."""
    for source in found[position + 1 :]:
        if source.depth <= depth:
            return source.depth == depth
    return False


def _label(source: Source) -> str:
    package = f"  as {source.package}" if source.package else ""
    return f"{source.config}{package}  ({shown_path(source.file)}, {source.layer})"


def _files(found: Sequence[Source]) -> str:
    return "\n".join(dict.fromkeys(shown_path(source.file) for source in found))


def _markdown(found: Sequence[Source]) -> str:
    return "\n".join(f"{'  ' * s.depth}- [{s.config}]({shown_path(s.file).replace(' ', '%20')})" for s in found)


def _dot(found: Sequence[Source]) -> str:
    lines = ["digraph files {", "  rankdir=LR;", '  node [shape=box, fontname="sans-serif"];']
    for source in found:
        lines.append(f"  {_dot_text(source.config)} [tooltip={_dot_text(shown_path(source.file))}];")
    for source in found:
        if source.parent is not None:
            lines.append(f"  {_dot_text(source.parent)} -> {_dot_text(source.config)};")
    return "\n".join([*dict.fromkeys(lines), "}"])


def _dot_text(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


_ROW: Final = 34
_BOX: Final = 24
_MARGIN: Final = 12
_LETTER: Final = 7.2


def _svg(found: Sequence[Source]) -> str:
    """An indented tree of boxes; each is a link to its file."""
    from html import escape  # only a picture needs it

    boxes: list[str] = []
    rows: dict[int, int] = {}
    width = 0.0
    for row, source in enumerate(found):
        x, y = _MARGIN + source.depth * 36, _MARGIN + row * _ROW
        size = max(60.0, len(source.config) * _LETTER + 20)
        width = max(width, x + size)
        if source.depth:
            up = _MARGIN + rows[source.depth - 1] * _ROW + _BOX
            boxes.append(f'<path d="M{x - 24} {up}V{y + _BOX // 2}H{x}"/>')
        rows[source.depth] = row
        boxes.append(
            f'<a href="file://{escape(source.file)}"><title>{escape(_label(source))}</title>'
            f'<rect class="{escape(source.layer.replace(" ", "-"))}" x="{x}" y="{y}" width="{size:.0f}" height="{_BOX}" rx="5"/>'
            f'<text x="{x + 10}" y="{y + 16}">{escape(source.config)}</text></a>'
        )
    height = 2 * _MARGIN + len(found) * _ROW
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width + _MARGIN:.0f}" height="{height}" role="img">',
            f"<style>{_STYLE}</style>",
            *boxes,
            "</svg>",
        ]
    )


_STYLE: Final = (
    "text{font:12px ui-monospace,monospace;fill:#1f2328}path{fill:none;stroke:#8c959f}"
    "rect{fill:#eef4ff;stroke:#5b8def}rect.library{fill:#f3f4f6;stroke:#8c959f}rect.search-path{fill:#eefaf0;stroke:#4c9a5f}"
    "@media(prefers-color-scheme:dark){text{fill:#e6edf3}rect{fill:#1c2a44}rect.library{fill:#2a2f36}rect.search-path{fill:#1d3325}}"
)

SOURCE_FORMS: Final[dict[str, Callable[[Sequence[Source]], str]]] = {
    "tree": _tree,
    "files": _files,
    "md": _markdown,
    "dot": _dot,
    "svg": _svg,
}
