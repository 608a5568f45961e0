"""A graph as one self-contained web page: its picture, a search, groups to fold, and a panel for each node.

Nothing is fetched: picture, data, style and script are in the page, and a content security policy lets only these run.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from html import escape
from typing import TYPE_CHECKING, Any, Final

from forge.render.cards import picture
from forge.render.entries import entries
from forge.render.svg import drawn

if TYPE_CHECKING:
    from forge.graph.node import Graph

__all__ = ["page"]

_STYLE: Final = re.compile(r"<style>(.*?)</style>", re.DOTALL)
_HOLE: Final = re.compile(r"\{\{(\w+)\}\}")
_IN_SCRIPT: Final = {ord(letter): f"\\u{ord(letter):04x}" for letter in "<>&\u2028\u2029"}


def page(graph: Graph, *, depth: int | None = None, focus: str | None = None) -> str:
    """The graph as HTML; ``depth`` folds what lies deeper, ``focus`` shows one node with its neighbours.

    Both are about the picture: the panel and the search know every node of the graph.
    """
    found = picture(graph, depth=depth, focus=focus)
    image = drawn(found, title="")
    style, script = _asset("page.css"), _asset("page_view.js") + _asset("page.js")
    parts = {
        "policy": _policy([style, *_STYLE.findall(image)], [script]),
        "style": style,
        "title": escape(found.name or "graph"),
        "picture": image,
        "data": _embedded(entries(graph, found)),
        "script": script,
    }
    return _HOLE.sub(lambda hole: parts[hole[1]], _asset("page.html"))


def _policy(styles: list[str], scripts: list[str]) -> str:
    """Nothing may be loaded, and only these styles and scripts may be used."""
    allowed = f"style-src {_hashes(styles)}; script-src {_hashes(scripts)}"
    return f"default-src 'none'; {allowed}; base-uri 'none'; form-action 'none'"


def _hashes(texts: list[str]) -> str:
    digests = [hashlib.sha256(text.encode()).digest() for text in texts]
    return " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)


def _embedded(data: dict[str, Any]) -> str:
    """JSON that no text in it can leave: a browser ends a script at its closing tag, wherever that stands."""
    return json.dumps(data, separators=(",", ":"), allow_nan=False).translate(_IN_SCRIPT)


def _asset(name: str) -> str:
    with open(os.path.join(os.path.dirname(__file__), name), encoding="utf-8") as file:
        return file.read()
