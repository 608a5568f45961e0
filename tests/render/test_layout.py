from __future__ import annotations

import os
import stat
import sys
from itertools import combinations
from random import Random
from typing import TYPE_CHECKING

import pytest

from forge.render.layout import Box, Line, Placement, Size, dot_program, lay_out

if TYPE_CHECKING:
    from pathlib import Path

    from forge.render.layout import Engine

ENGINES: list[Engine] = ["own", "graphviz"]


def random_graph(seed: int, count: int = 40) -> tuple[dict[str, Size], list[Line]]:
    random = Random(seed)
    sizes = {
        f"c{i}": Size(
            168.0 + 36 * random.randrange(4), float(44 + 18 * random.randrange(9)), 22.0, random.choice("abcd")
        )
        for i in range(count)
    }
    lines = []
    for number in range(1, count):
        for _ in range(random.randrange(3)):
            user = f"c{random.randrange(number)}"
            lines.append(Line(user, random.uniform(20, sizes[user].height), f"c{number}"))
    return sizes, lines


def overlap(one: Box, two: Box) -> bool:
    return (
        one.x < two.x + two.width
        and two.x < one.x + one.width
        and one.y < two.y + two.height
        and two.y < one.y + one.height
    )


def check(sizes: dict[str, Size], lines: list[Line], found: Placement) -> None:
    assert found.cards.keys() == sizes.keys()
    for (_, one), (_, two) in combinations(found.cards.items(), 2):
        assert not overlap(one, two)
    for (_, one), (_, two) in combinations(found.groups.items(), 2):
        assert not overlap(one, two)
    for name, card in found.cards.items():
        for group, box in found.groups.items():
            inside = (
                box.x <= card.x
                and card.x + card.width <= box.x + box.width
                and box.y <= card.y
                and card.y + card.height <= box.y + box.height
            )
            assert inside if sizes[name].group == group else not overlap(box, card)
    assert len(found.curves) == len(lines)
    for line, curve in zip(lines, found.curves, strict=True):
        source, target = found.cards[line.source], found.cards[line.target]
        assert curve[0] == (source.x + source.width, source.y + line.height)
        assert curve[-1] == (target.x, target.y + sizes[line.target].entry)
        assert len(curve) % 3 == 1
        assert source.x < target.x


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("seed", range(12))
def test_cards_and_groups_keep_apart_and_users_stand_left(engine: Engine, seed: int) -> None:
    if engine == "graphviz" and dot_program() is None:
        pytest.skip("needs Graphviz")
    sizes, lines = random_graph(seed)
    check(sizes, lines, lay_out(sizes, lines, engine))


@pytest.mark.parametrize("engine", ENGINES)
def test_nothing_and_one_card_have_a_layout(engine: Engine) -> None:
    assert lay_out({}, [], engine) == Placement()
    assert lay_out({"c0": Size(100, 50, 20)}, [], engine).cards["c0"][2:] == (100, 50)


@pytest.mark.parametrize("engine", ENGINES)
def test_many_leaves_of_one_user_stand_in_several_columns(engine: Engine) -> None:
    sizes = {"user": Size(168, 400, 22)} | {f"leaf{i}": Size(168, 60, 22) for i in range(20)}
    lines = [Line("user", 50.0 + 10 * i, f"leaf{i}") for i in range(20)]
    found = lay_out(sizes, lines, engine)
    assert len({box.x for box in found.cards.values()}) == 4


def test_without_a_group_of_two_there_is_no_box() -> None:
    assert not lay_out({"a": Size(9, 9, 4, "x"), "b": Size(9, 9, 4, "y")}, [], "own").groups


@pytest.mark.skipif(os.name != "posix", reason="the program is a shell script")
@pytest.mark.parametrize("script", ["exit 1", "echo nonsense", "echo '{}'", "kill -9 $$"])
def test_a_graphviz_that_fails_leaves_the_own_layout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    program = tmp_path / "dot"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert dot_program() == str(program)
    sizes, lines = random_graph(1)
    assert lay_out(sizes, lines) == lay_out(sizes, lines, "own")


def test_the_wheel_of_graphviz_is_found_beside_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    beside = os.path.join(os.path.dirname(sys.executable), "graphviz-pure")
    assert dot_program() == (beside if os.path.exists(beside) else None)
