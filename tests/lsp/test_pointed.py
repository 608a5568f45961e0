from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from forge.lsp.outline import outline
from forge.lsp.pointed import owner_target, pointed_at, reference_place

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Spot

    from forge.lsp.desk import Desk, Sheet


@pytest.fixture
def sheet(desk: Desk, demo: Path) -> Sheet:
    found = desk.sheet(str(demo / "configs" / "run.yaml"))
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("text", "kind", "pointed"),
    [
        ("defaults: [ti‸ny]", "default", "tiny"),
        ("defaults: [{size: sma‸ll}]", "default", "size/small"),
        ("defaults: [{si‸ze: small}]", "default", "size/small"),
        ("defaults: [{override /size@a.b: la‸rge}]", "default", "size/large"),
        ("defaults: [{/optimizer: [adamw, sg‸d]}]", "default", "optimizer/sgd"),
        ("a: x-${mode}-${si‸ze.dim}", "reference", "size.dim"),
        ("a: {_target_: demo_code.Run‸ner}", "target", "demo_code.Runner"),
        ("a: {_tar‸get_: demo_code.Runner}", "target", "demo_code.Runner"),
        ("a: {b‸: 1}", "key", "b"),
        ("a: {b: 1‸}", "value", "b"),
        ("args: {f: {key: trainer.max‸_steps}}", "reference", "trainer.max_steps"),
    ],
)
def test_a_position_points_at(text: str, kind: str, pointed: str, sheet: Sheet, spot: Callable[[str], Spot]) -> None:
    where = spot(text)
    found = pointed_at(where.text, outline(where.text), sheet, where.line, where.column)
    assert found is not None
    assert (found.kind, found.text) == (kind, pointed)


@pytest.mark.parametrize("text", ["defaults: [_se‸lf_]", "defaults: [{size: nu‸ll}]", "a: 1\n‸", "# x‸"])
def test_a_position_that_points_at_nothing(text: str, sheet: Sheet, spot: Callable[[str], Spot]) -> None:
    where = spot(text)
    assert pointed_at(where.text, outline(where.text), sheet, where.line, where.column) is None


def test_references_climb_from_where_they_stand(sheet: Sheet) -> None:
    assert reference_place(sheet, ("runner", "size"), ".mode") == ("runner", "mode")
    assert reference_place(sheet, ("runner", "size"), "trainer.size.dim") == ("size", "dim")
    assert reference_place(sheet, ("runner",), "...x") is None
    assert reference_place(sheet, ("runner",), "nosuch") is None


def test_the_target_in_the_text_comes_before_the_composed_one(sheet: Sheet) -> None:
    assert owner_target(outline("runner: {size: 1}"), sheet, ("runner",)) == "demo_code.Runner"
    assert owner_target(outline("runner: {_target_: x.y}"), sheet, ("runner",)) == "x.y"
    assert owner_target(outline("runner: {_target_: '${x}'}"), sheet, ("runner",)) is None
    assert owner_target(outline(""), sheet, ("nosuch",)) is None
