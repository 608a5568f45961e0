from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from forge.graph.change import Change

from forge.base.errors import UsageError
from forge.base.origin import Origin
from forge.base.secrets import MASK, Secret
from forge.graph import change
from forge.graph.change import Add, Move, Remove, Reorder, Retarget, Set, Share, Unshare
from forge.graph.node import Graph, Map
from forge.render.forms import FORMS, change_data, draw

sys.path.insert(0, os.path.dirname(__file__))
from drawn_examples import training

HERE, THERE = Origin("a.yaml", 1), Origin("b.yaml", 2, text="lr: 1")
BEGINNINGS = {
    "tree": "pretrain/tiny",
    "yaml": "seed: 42",
    "json": "{",
    "python": "# Builds the objects",
    "dot": "digraph",
    "mermaid": "flowchart",
    "svg": "<svg",
    "html": "<!doctype html>",
}
WHOLE = ("python", "yaml", "json")
PARTIAL = tuple(form for form in FORMS if form not in WHOLE)


@pytest.mark.parametrize("form", FORMS)
def test_each_form_is_the_form_that_it_says(form: str) -> None:
    assert draw(training(), form).startswith(BEGINNINGS[form])


def test_each_form_has_a_suffix_of_its_own() -> None:
    assert len(set(FORMS.values())) == len(FORMS)
    assert all(suffix.startswith(".") for suffix in FORMS.values())


@pytest.mark.parametrize("form", WHOLE)
@pytest.mark.parametrize("cut", [{"depth": 0}, {"focus": "model"}])
def test_data_and_programs_are_always_whole(form: str, cut: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=f"the {form} form is always whole"):
        draw(training(), form, **cut)  # type: ignore[arg-type]


@pytest.mark.parametrize("form", PARTIAL)
def test_depth_and_focus_make_a_picture_smaller(form: str) -> None:
    whole = draw(training(), form)
    for cut in ({"depth": 1}, {"focus": "schedule"}):
        assert len(draw(training(), form, **cut)) < len(whole)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("where", "address"),
    [
        ("file", "/project/configs/optimizer/pretrain/tiny.yaml#L2"),
        ("vscode", "vscode://file/project/configs/optimizer/pretrain/tiny.yaml:2:3"),
    ],
)
def test_an_svg_leads_to_the_lines_it_shows_when_asked_to(where: str, address: str) -> None:
    assert f'href="{address}"' in draw(training(), "svg", links=where)  # type: ignore[arg-type]
    assert "href" not in draw(training(), "svg")


@pytest.mark.parametrize("form", [form for form in FORMS if form != "svg"])
def test_no_other_form_takes_links(form: str) -> None:
    with pytest.raises(UsageError, match=f"the {form} form has no links"):
        draw(training(), form, links="file")


def test_only_a_program_is_told_where_to_search() -> None:
    assert 'sys.path.insert(0, "src")' in draw(training(), "python", search=["src"])
    assert draw(training(), "tree", search=["src"]) == draw(training(), "tree")


def test_a_tree_costs_none_of_the_pictures() -> None:
    code = """if True:
        import sys
        from forge.graph.node import Graph, Map
        from forge.render.forms import draw
        draw(Graph("x", Map((), ())), "tree")
        print(*(name for name in sys.modules if name.startswith("forge.render.")))
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "forge.render.tree" in loaded
    assert not loaded & {
        f"forge.render.{name}" for name in ("svg", "layout", "cards", "page", "dot", "mermaid", "python")
    }


CHANGES: list[tuple[Change, dict[str, object]]] = [
    (Set(("a", "lr"), 1, 2, (HERE, THERE)), {"change": "set", "path": "a.lr", "old": 1, "new": 2}),
    (Add(("a", 0), {"x": 1}, HERE), {"change": "add", "path": "a[0]", "value": {"x": 1}}),
    (Remove(("a",), None), {"change": "remove", "path": "a", "value": None}),
    (Retarget(("a",), "m.A", "m.B"), {"change": "retarget", "path": "a", "old": "m.A", "new": "m.B"}),
    (Share(("a",), ("b", "c")), {"change": "share", "path": "a", "other": "b.c"}),
    (Unshare(("a",), ("b", "c"), 1), {"change": "unshare", "path": "a", "value": 1, "other": "b.c"}),
    (Move(("b", "x"), ("a", "x"), {}), {"change": "move", "path": "b.x", "old": "a.x", "value": {}}),
    (Reorder(("a",), ("x", "y"), ("y", "x")), {"change": "reorder", "path": "a", "old": ("x", "y"), "new": ("y", "x")}),
]


@pytest.mark.parametrize(("made", "expected"), CHANGES, ids=[type(each).__name__ for each, _ in CHANGES])
def test_a_change_is_plain_data(made: Change, expected: dict[str, object]) -> None:
    found = change_data(made)
    origins = found.pop("origins")
    assert found == expected
    json.dumps(found)
    assert all(origin is None or set(origin) == {"file", "line", "text"} for origin in origins)


def test_a_change_says_where_both_values_are_written() -> None:
    assert change_data(CHANGES[0][0])["origins"] == [
        {"file": "a.yaml", "line": 1, "text": ""},
        {"file": "b.yaml", "line": 2, "text": "lr: 1"},
    ]
    assert change_data(CHANGES[1][0])["origins"] == [{"file": "a.yaml", "line": 1, "text": ""}]
    assert change_data(CHANGES[2][0])["origins"] == [None]


def test_every_kind_of_change_is_covered_here() -> None:
    kinds = {kind for kind in vars(change).values() if isinstance(kind, type) and issubclass(kind, change._At)}
    assert {type(each) for each, _ in CHANGES} == kinds - {change._At}


def test_a_change_shows_no_secret() -> None:
    values = [Secret("hunter2"), {"deep": [Secret("hunter2")]}]
    changes = [Set(("api_key",), value, value) for value in values] + [Add(("a",), value) for value in values]
    text = json.dumps([change_data(each) for each in changes])
    assert "hunter2" not in text
    assert text.count(MASK) == 6


@pytest.mark.parametrize("form", FORMS)
def test_an_empty_config_has_every_form(form: str) -> None:
    assert draw(Graph("empty", Map((), ())), form)
