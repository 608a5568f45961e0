"""Classes and their bases as their source shows them."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

import pytest

from forge.graph.static.classes import Definition, is_named_tuple, last_name, lineage, metaclass_calls
from forge.graph.static.disk import Disk
from forge.graph.static.source import SourceTree

if TYPE_CHECKING:
    from pathlib import Path


def read(source: str, folder: Path) -> tuple[SourceTree, Definition]:
    (folder / "zoo.py").write_text(source + "\n")
    tree = SourceTree(Disk([str(folder)]))
    found = tree.resolve("zoo.C")
    assert isinstance(found, Definition)
    return tree, found


LINEAGES = {
    "alone": ("class C: ...", "C"),
    "bases left to right": ("class A: ...\nclass B: ...\nclass C(A, B): ...", "C A B"),
    "a diamond": ("class O: ...\nclass A(O): ...\nclass B(O): ...\nclass C(A, B): ...", "C A B O"),
    "a base that cannot be told": ("import math\nclass B: ...\nclass C(math.X, B): ...", "C ? B"),
    "bases that bring nothing": (
        "from typing import Generic, Protocol\nclass C(Generic['T'], Protocol, object): ...",
        "C",
    ),
    "its own base": ("class C(C): ...", "C ?"),
}


@pytest.mark.parametrize(("source", "wanted"), LINEAGES.values(), ids=LINEAGES.keys())
def test_bases_stand_in_the_order_python_looks_through_them(source: str, wanted: str, tmp_path: Path) -> None:
    tree, found = read(source, tmp_path)
    assert " ".join(one.node.name if one else "?" for one in lineage(tree, found)) == wanted


@pytest.mark.parametrize(
    "source",
    [
        "class A: ...\nclass B(A): ...\nclass C(B, A): ...",
        "class O: ...\nclass A(O): ...\nclass B(O): ...\nclass D(B): ...\nclass C(A, D): ...",
    ],
)
def test_the_order_is_that_of_python_itself(source: str, tmp_path: Path) -> None:
    space: dict[str, type] = {}
    exec(source, space)  # noqa: S102 - written above
    tree, found = read(source, tmp_path)
    assert [one.node.name if one else "?" for one in lineage(tree, found)] == [
        c.__name__ for c in space["C"].__mro__[:-1]
    ]


@pytest.mark.parametrize(
    ("source", "calls"),
    [
        ("class C: ...", False),
        ("class M(type): ...\nclass C(metaclass=M): ...", False),
        ("class M(type):\n    def __call__(cls): ...\nclass C(metaclass=M): ...", True),
        (
            "class L(type):\n    def __call__(cls): ...\nclass M(L): ...\nclass A(metaclass=M): ...\nclass C(A): ...",
            True,
        ),
        ("import math\nclass C(metaclass=math.M): ...", True),
        ("from abc import ABCMeta\nclass C(metaclass=ABCMeta): ...", False),
    ],
)
def test_a_metaclass_may_take_over_the_call(source: str, calls: bool, tmp_path: Path) -> None:  # noqa: FBT001 - an expected value
    tree, found = read(source, tmp_path)
    assert metaclass_calls(tree, lineage(tree, found)) is calls


def test_a_named_tuple_is_recognised(tmp_path: Path) -> None:
    _, found = read("from typing import NamedTuple\nclass C(NamedTuple):\n    a: int", tmp_path)
    assert is_named_tuple(found)


@pytest.mark.parametrize(
    ("text", "name"), [("a", "a"), ("a.b.c", "c"), ("a.b(1)", "b"), ("a.b[int]", "b"), ("a()()", "a"), ("1", "")]
)
def test_the_last_name_of_an_expression(text: str, name: str) -> None:
    assert last_name(ast.parse(text, mode="eval").body) == name
