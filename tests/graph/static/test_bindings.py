"""What the statements of a file bind."""

from __future__ import annotations

import ast
import sys

import pytest

from forge.graph.static.bindings import Assigned, Bindings, Defined, Imported, ImportedFrom, Star, bindings_of


def read(source: str) -> Bindings:
    return bindings_of(ast.parse(source).body, "zoo.nets")


def shown(source: str, name: str = "x") -> str:
    """The meanings of a name, in short: kind and what it leads to, ``?`` behind a fallback."""
    parts = []
    for meaning, fallback in read(source).names.get(name, ()):
        kind = type(meaning).__name__
        if isinstance(meaning, Imported):
            kind = f"import {meaning.module}"
        elif isinstance(meaning, ImportedFrom):
            kind = f"from {meaning.module} import {meaning.name}"
        elif isinstance(meaning, Assigned) and meaning.expression is not None:
            kind = f"= {ast.unparse(meaning.expression)}"
        parts.append(kind + "?" * fallback)
    return ", ".join(parts)


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("def x(): ...", "Defined"),
        ("async def x(): ...", "Defined"),
        ("class x: ...", "Defined"),
        ("import x", "import x"),
        ("import x.y", "import x"),
        ("import a.b as x", "import a.b"),
        ("from a import x", "from a import x"),
        ("from . import x", "from zoo.nets import x"),
        ("from .a import b as x", "from zoo.nets.a import b"),
        ("from ..a import x", "from zoo.a import x"),
        ("x = a.b", "= a.b"),
        ("x: int = 3", "= 3"),
        ("x: int", ""),
        ("x, y = 1, 2", "Assigned"),
        ("[a, *x] = 1, 2", "Assigned"),
        ("x = 1\nx += 1", "Assigned"),
        ("x = 1\ndef x(): ...", "Defined"),
        ("if a:\n    x = 1\nelse:\n    x = 2", "= 1, = 2"),
        ("x = 0\nif a:\n    x = 1", "= 0, = 1"),
        ("if TYPE_CHECKING:\n    from a import x", "from a import x?"),
        ("if typing.TYPE_CHECKING:\n    from a import x\nelse:\n    x = 1", "= 1"),
        ("if not TYPE_CHECKING:\n    x = 1\nelse:\n    x = 2", "= 1"),
        ("if __name__ == '__main__':\n    x = 1", ""),
        ("if True:\n    x = 1\nelse:\n    x = 2", "= 1"),
        ("if sys.version_info < (3,):\n    x = 1\nelse:\n    x = 2", "= 2"),
        (f"if sys.platform == {sys.platform!r}:\n    x = 1\nelse:\n    x = 2", "= 1"),
        ("try:\n    from a import x\nexcept ImportError:\n    x = None", "from a import x, = None?"),
        ("for x in y: ...", "Assigned"),
        ("while a:\n    x = 1", "= 1"),
        ("with a:\n    x = 1", "= 1"),
        ("def f():\n    x = 1", ""),
    ],
)
def test_a_statement_binds_a_name(source: str, wanted: str) -> None:
    assert shown(source) == wanted


def test_star_imports_are_kept_in_order() -> None:
    source = "from .a import *\nif TYPE_CHECKING:\n    from b import *"
    assert read(source).stars == (Star("zoo.nets.a"), Star("b", fallback=True))


def test_a_rebound_name_remembers_what_it_was() -> None:
    meaning = read("def x(): ...\nx = wrap(x)").names["x"][0].meaning
    assert isinstance(meaning, Assigned)
    assert isinstance(meaning.before[0].meaning, Defined)


def test_overloads_alone_say_only_that_the_name_is_there() -> None:
    found = read("import typing\n@typing.overload\ndef x(a): ...\n@typing.overload\ndef x(b): ...").names["x"]
    assert found[0].meaning == Assigned(None)


def test_overloads_give_way_to_the_definition() -> None:
    found = read(
        "import typing\n@typing.overload\ndef x(a): ...\n@typing.overload\ndef x(b): ...\ndef x(c): ..."
    ).names["x"]
    assert [type(one.meaning) for one in found] == [Defined]
