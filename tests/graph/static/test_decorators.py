"""Decorators that leave a call as it is, change it, or cannot be read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from forge.graph.static.classes import Definition
from forge.graph.static.disk import Disk
from forge.graph.static.parameters import signature_from
from forge.graph.static.source import SourceTree

if TYPE_CHECKING:
    from pathlib import Path

WRAPS = "import functools\n"


def read(source: str, name: str, folder: Path) -> str:
    """The parameters of ``zoo.<name>``: ``!`` for required, ``/`` for by place only, ``*`` for by name only."""
    (folder / "zoo.py").write_text(source + "\n")
    tree = SourceTree(Disk([str(folder)]))
    found = tree.resolve(f"zoo.{name}")
    assert isinstance(found, Definition)
    signature = signature_from(tree, found, f"zoo.{name}")
    if signature is None:
        return "cannot tell"
    marks = {"positional_only": "/", "positional_or_keyword": "", "keyword_only": "*"}
    parts = [f"{marks[p.kind]}{p.name}{'!' if p.required else ''}" for p in signature.parameters]
    return " ".join(
        [*parts, *(["*args"] if signature.var_positional else []), *(["**kwargs"] if signature.var_keyword else [])]
    )


SIGNATURES = {
    "a decorator that passes on": (
        WRAPS + "def d(g):\n    @functools.wraps(g)\n    def w(*a, **k):\n        return g(*a, **k)\n    return w\n@d\ndef f(a): ...",
        "f",
        "a!",
    ),
    "a decorator that changes arguments": (
        WRAPS + "def d(g):\n    @functools.wraps(g)\n    def w(*a, **k):\n        k.pop('x', None)\n        return g(*a, **k)\n    return w\n@d\ndef f(a): ...",
        "f",
        "cannot tell",
    ),
    "a decorator that adds arguments": (
        WRAPS + "def d(g):\n    @functools.wraps(g)\n    def w(*a, **k):\n        return g(1, *a, **k)\n    return w\n@d\ndef f(a): ...",
        "f",
        "cannot tell",
    ),
    "a method decorator that passes on": (
        WRAPS + "def d(g):\n    @functools.wraps(g)\n    def w(self, *a, **k):\n        return g(self, *a, **k)\n    return w\nclass f:\n    @d\n    def __init__(self, a): ...",
        "f",
        "a!",
    ),
    "a decorator with arguments": (
        WRAPS + "def d(n):\n    def o(g):\n        @functools.wraps(g)\n        def w(*a, **k):\n            return g(*a, **k)\n        return w\n    return o\n@d(1)\ndef f(a): ...",
        "f",
        "a!",
    ),
    "a decorator that registers": ("ALL = []\ndef d(g):\n    ALL.append(g)\n    return g\n@d\ndef f(a): ...", "f", "a!"),
    "a decorator that returns something else": ("def d(g):\n    return 1\n@d\ndef f(a): ...", "f", "cannot tell"),
    "a decorator that is unknown": ("import math\n@math.d\ndef f(a): ...", "f", "cannot tell"),
    "a class as decorator": ("class d:\n    def __init__(self, g): ...\n@d\ndef f(a): ...", "f", "cannot tell"),
    "a class decorator that replaces __init__": (
        "def d(c):\n    c.__init__ = print\n    return c\n@d\nclass f:\n    def __init__(self, a): ...",
        "f",
        "a *args **kwargs",
    ),
    "a class decorator with and without brackets": (
        "def d(c=None, *, x=1):\n    def w(c):\n        c.tag = x\n        return c\n    return w(c) if c is not None else w\n@d\n@d(x=2)\nclass f:\n    def __init__(self, a): ...",
        "f",
        "a!",
    ),
    "a wrapper applied afterwards": ("import math\ndef f(a): ...\nf = math.wrap(f)", "f", "cannot tell"),
    "a method that a wrapper replaces": (
        "def d(c):\n    c.load = classmethod(print)\n    return c\nclass C:\n    @classmethod\n    def load(cls, a): ...\nC = d(C)",
        "C.load",
        "a *args **kwargs",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("source", "name", "wanted"), SIGNATURES.values(), ids=SIGNATURES.keys())
def test_a_decorator_is_read_for_what_it_does_to_calls(source: str, name: str, wanted: str, tmp_path: Path) -> None:
    assert read(source, name, tmp_path) == wanted
