"""What the variables of a script are called: by the key of the config, longer only where two would be the same."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from forge.render.python.code import is_identifier, is_taken

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from forge.base.paths import Path
    from forge.graph.node import Node
    from forge.render.place import Places

__all__ = ["names_for"]

_OTHER: Final = re.compile(r"[^A-Za-z0-9]+")
_LONGEST: Final = 40
_ANONYMOUS: Final = "value"


def names_for(bound: Sequence[Node], places: Places, taken: set[str]) -> dict[int, str]:
    """A name for each bound node, by its ``id``; the shortest paths choose first. ``taken`` gains the names."""
    found: dict[int, str] = {}
    for node in sorted(bound, key=lambda node: len(places.paths[id(node)])):
        name = next(name for name in _candidates(places.paths[id(node)]) if name not in taken)
        taken.add(name)
        found[id(node)] = name
    return found


def _candidates(path: Path) -> Iterator[str]:
    """The key, the key behind those that lead to it, and at last numbers."""
    words = [word for word in (_OTHER.sub("_", str(key)).strip("_") for key in path) if word]
    joined = [_clipped("_".join(words[start:])) for start in range(len(words) - 1, -1, -1)]
    for name in joined:
        if is_identifier(name) and not is_taken(name):
            yield name
    base = next((name for name in reversed(joined) if is_identifier(name)), _ANONYMOUS)
    number = 2
    while True:
        yield f"{base}_{number}"
        number += 1


def _clipped(name: str) -> str:
    return name[-_LONGEST:].lstrip("_0123456789") if len(name) > _LONGEST else name
