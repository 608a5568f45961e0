"""Names that stand for literals in annotations."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

import pytest

from forge.graph.static.aliases import written_out
from forge.graph.static.disk import Disk, Module
from forge.graph.static.source import SourceTree

if TYPE_CHECKING:
    from pathlib import Path

MODES = """
from typing import Literal, TypeAlias
import typing
Mode = Literal['a', 'b']
Level: TypeAlias = typing.Literal[1, 2]
Other = int
if Mode:
    Twice = Literal['x']
else:
    Twice = Literal['y']
"""
USER = """
from typing import TYPE_CHECKING
from .modes import Level, Other, Twice
from .again import Round
if TYPE_CHECKING:
    from zoo.modes import Mode as M
"""


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        ("M", "Literal['a', 'b']"),
        ("Level", "typing.Literal[1, 2]"),
        ("M | None", "Literal['a', 'b'] | None"),
        ("int | M | Level", "int | Literal['a', 'b'] | typing.Literal[1, 2]"),
        *((same, same) for same in ("Other", "Twice", "Round", "Absent", "int", "list[M]", "x.M", "'M'")),
    ],
)
def test_a_name_that_surely_stands_for_literals_is_written_out(tmp_path: Path, annotation: str, expected: str) -> None:
    (tmp_path / "zoo").mkdir()
    for name, text in (("__init__", ""), ("modes", MODES), ("user", USER), ("again", "from .more import Round")):
        (tmp_path / "zoo" / f"{name}.py").write_text(text)
    (tmp_path / "zoo" / "more.py").write_text("from .again import Round")  # round and round
    tree = SourceTree(Disk([str(tmp_path)]))
    user = tree.module("zoo.user")
    assert isinstance(user, Module)
    expression = ast.parse(annotation, mode="eval").body
    assert ast.unparse(written_out(tree, expression, user)) == expected
