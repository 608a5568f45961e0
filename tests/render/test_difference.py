from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from forge.base.errors import ConfigNotFoundError, UsageError
from forge.base.origin import Origin
from forge.base.secrets import Secret
from forge.graph.change import Add, Move, Remove, Reorder, Retarget, Set, Share, Unshare
from forge.graph.diff import diff
from forge.graph.walk import walk
from forge.render.difference import bridge, marked, overlay, overrides, shortest, text

if TYPE_CHECKING:
    from forge.graph.node import Graph

# The generated configs of tests/graph/test_diff.py: test folders are no packages, so the file is loaded by its path.
_SPEC = importlib.util.spec_from_file_location("diff_tests", Path(__file__).parents[1] / "graph" / "test_diff.py")
assert _SPEC is not None
assert _SPEC.loader is not None
configs = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(configs)
graph = configs.graph

# ---- overrides


def recomposed(tree: dict[Any, Any], lines: list[str], folder: Path) -> Graph:
    (folder / "config.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))
    with initialize_config_dir(str(folder), version_base="1.3"):
        composed = compose("config", lines)
    return graph(OmegaConf.to_container(composed, resolve=False))  # type: ignore[no-any-return]


def line_of(before: dict[Any, Any], after: dict[Any, Any]) -> list[str]:
    return overrides(diff(graph(before), graph(after)))


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({"a": {"b": 1}}, {"a": {"b": 2}}, ["a.b=2"]),
        ({"a": {}}, {"a": {"b": "x y"}}, ["+a.b='x y'"]),
        ({"a": {"b": 1}}, {"a": {}}, ["~a.b"]),
        ({"a": {"_target_": "m.A"}}, {"a": {"_target_": "m.B"}}, ["a._target_=m.B"]),
        ({"a": {"_symbol_": "m.f"}}, {"a": {"_symbol_": "m.g"}}, ["a._symbol_=m.g"]),
        ({"a": {"_target_": "m.A"}, "b": 1}, {"a": {"_target_": "m.A"}, "b": "${a}"}, ["b='${a}'"]),
        ({"a": None}, {"a": {"_target_": "m.A", "x": [1]}}, ["a={_target_:m.A,x:[1]}"]),
        ({"a": {"x": 1}}, {"a": {"_target_": "m.A"}}, ["~a", "+a={_target_:m.A}"]),
        ({"a": [1, 2]}, {"a": [1, 2, 3]}, ["a=[1,2,3]"]),
        ({"a": [{"x": 1}, {"x": 2}]}, {"a": [{"x": 1}, {"x": 3}]}, ["a.1.x=3"]),
        ({"a": [{"x": 1}]}, {"a": [{"x": 1}, {"x": 3}]}, ["a=[{x:1},{x:3}]"]),
        ({"a": {"_target_": "m.A", "x": 1}}, {"b": {"_target_": "m.A", "x": 1}}, ["~a", "+b={_target_:m.A,x:1}"]),
    ],
)
def test_the_override_of_each_kind_of_change(
    before: dict[Any, Any], after: dict[Any, Any], expected: list[str], tmp_path: Path
) -> None:
    lines = line_of(before, after)
    assert lines == expected
    assert diff(recomposed(before, lines, tmp_path), graph(after)) == ()


FULL = bool(os.environ.get("FORGE_FULL"))


@settings(max_examples=2000 if FULL else 50, deadline=None, suppress_health_check=list(HealthCheck))
@given(configs.pairs())
def test_hydra_makes_the_later_config_of_the_earlier_one_and_the_overrides(
    tmp_path: Path, pair: tuple[dict[Any, Any], dict[Any, Any]]
) -> None:
    before, after = pair
    lines: list[str] = []
    left = diff(graph(before), graph(after))
    for _ in range(3):  # what followed a changed value is left after the first round
        if not left:
            break
        lines += overrides(left)
        left = diff(recomposed(before, lines, tmp_path), graph(after))
    assert left == ()


def test_a_key_without_a_spelling_is_written_with_the_mapping_around_it() -> None:
    assert line_of({"a": {"x y": 1, "n": 1}}, {"a": {"x y": 2, "n": 1}}) == ["~a", "+a={x\\ y:2,n:1}"]
    with pytest.raises(UsageError, match="x y"):
        line_of({"x y": 1}, {"x y": 2})


def test_what_follows_from_other_values_needs_no_override() -> None:
    assert overrides([Set(("name",), "run-1", "run-2", computed=True)]) == []


def test_groups_whose_choice_differs_come_as_group_overrides() -> None:
    change = Set(("optimizer", "lr"), 1, 2)
    before = {"model": "tiny", "optimizer": "adamw", "logging": "wandb"}
    after = {"model": "tiny", "optimizer": "adafactor", "launch": "slurm", "db@backup": None}
    assert shortest([change], before, after) == [
        "+db@backup=null",
        "+launch=slurm",
        "~logging",
        "optimizer=adafactor",
    ]
    assert shortest([], before, after) == []


def test_the_line_between_two_configs_takes_a_choice_where_it_says_more_than_it_costs(tmp_path: Path) -> None:
    files = {
        "config.yaml": "defaults: [{optimizer: adamw}, {size: s}, _self_]\nsteps: 1\nrate: ${steps}\n",
        "optimizer/adamw.yaml": "_target_: o.AdamW\nlr: 1\nbetas: [1, 2]\n",
        "optimizer/adafactor.yaml": "_target_: o.Adafactor\nlr: 2\nd: 1\n",
        "size/s.yaml": "dim: 8\n",
        "size/same.yaml": "dim: 8\n",
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)

    def composed(lines: list[str]) -> Graph:
        if any("missing" in line for line in lines):
            raise ConfigNotFoundError("no such choice")
        with initialize_config_dir(str(tmp_path), version_base="1.3"):
            tree = OmegaConf.to_container(compose("config", lines), resolve=False)
        return graph(tree)  # type: ignore[no-any-return]

    after = composed(["optimizer=adafactor", "optimizer.d=5", "size=same", "steps=2", "rate=1"])
    before = {"optimizer": "adamw", "size": "s"}
    line = bridge(
        diff(composed([]), after),
        before,
        {"optimizer": "adafactor", "size": "same", "extra": "missing"},
        lambda lines: diff(composed(lines), after),
    )
    assert line == ["optimizer=adafactor", "optimizer.d=5", "steps=2", "rate=1"]


# ---- text

X = Origin("configs/exp/x.yaml", 4)


def test_changes_are_aligned_and_grouped_by_their_top_key() -> None:
    shown = text(
        [
            Set(("optimizer", "lr"), 0.001, 0.0003, (None, X)),
            Add(("optimizer", "betas"), [0.9, 0.95], X),
            Remove(("seed",), 1, X),
            Retarget(("trainer",), "m.A", "m.B", (None, X)),
            Share(("trainer", "tok"), ("tokenizer",)),
            Unshare(("trainer", "model"), ("model",), None),
            Move(("optim",), ("optimizer",), None),
            Reorder(("hooks",), ("a", "b"), ("b", "a")),
        ]
    )
    assert shown.splitlines() == [
        "~ optimizer.lr     0.001 → 0.0003                       configs/exp/x.yaml:4",
        "+ optimizer.betas  [0.9, 0.95]                          configs/exp/x.yaml:4",
        "",
        "- seed             1                                    configs/exp/x.yaml:4",
        "",
        "~ trainer          m.A → m.B                            configs/exp/x.yaml:4",
        "= trainer.tok      now the same object as tokenizer",
        "= trainer.model    no longer the same object as model",
        "",
        "> optim            moved from optimizer",
        "",
        "~ hooks            [a, b] → [b, a]",
    ]


def test_no_changes_are_no_text() -> None:
    assert text([]) == ""


def test_color_is_added_only_when_asked() -> None:
    change = Set(("a",), 1, 2)
    assert "\x1b" not in text([change])
    assert text([change], color=True) == "\x1b[35m~ a  1 → 2\x1b[0m"


def test_where_a_line_would_be_too_wide_the_place_stands_below() -> None:
    place = Origin("configs/optimizer/adamw.yaml", 5, "library")
    changes = [Set(("a",), 1, 2, (None, place)), Set(("b",), "x" * 30, "y", (None, place))]
    assert text(changes, width=60).splitlines() == [
        "~ a  1 → 2                    configs/optimizer/adamw.yaml:5",
        "",
        f"~ b  {'x' * 30} → y",
        "     configs/optimizer/adamw.yaml:5",
    ]
    assert [len(line) > 60 for line in text(changes).splitlines()] == [True, False, True]
    assert text(changes, width=60, color=True).count("\x1b[35m") == 3


@given(st.text())
def test_a_hostile_value_stays_on_its_line_and_sends_nothing_to_the_terminal(value: str) -> None:
    shown = text([Add((value, "k"), value), Set(("k",), value, value + "x"), Retarget(("t",), value, "m.B")])
    lines = [line for line in shown.split("\n") if line]
    assert len(lines) == 3
    assert all(line.isprintable() for line in lines)


def test_a_secret_is_masked_everywhere() -> None:
    changes = [Set(("api_key",), Secret("one"), Secret("two")), Add(("k",), {"token": Secret("three")})]
    everything = text(changes) + "".join(overrides([changes[1]]))
    assert not any(word in everything for word in ("one", "two", "three"))


# ---- picture


def test_a_picture_of_a_difference_has_what_was_removed_too() -> None:
    a, b = {"_target_": "m.A", "x": 1, "y": 2}, {"_target_": "m.A", "x": 3}
    before = graph({"a": a, "gone": {"_target_": "m.B", "deep": {"n": 1}}, "tok": 1})
    after = graph({"a": b, "new": {"_target_": "m.C", "k": 1}, "tok": 1})
    union, marks = marked(after, diff(before, after))
    assert marks == {
        ("a", "x"): "changed",
        ("a", "y"): "removed",
        ("gone",): "removed",
        ("gone", "deep"): "removed",
        ("gone", "deep", "n"): "removed",
        ("new",): "added",
        ("new", "k"): "added",
    }
    assert {node.path for node in walk(union.root)} >= set(marks)


@settings(max_examples=100 if FULL else 30, deadline=None, suppress_health_check=list(HealthCheck))
@given(configs.pairs())
def test_each_mark_is_a_place_of_the_picture(pair: tuple[dict[Any, Any], dict[Any, Any]]) -> None:
    before, after = map(graph, pair)
    union, marks = marked(after, diff(before, after))
    known = {node.path for node in walk(union.root)}
    assert all(path in known or path[:-1] in known or path[:-2] in known for path in marks)
    assert {type(node) for node in walk(after.root)} <= {type(node) for node in walk(union.root)}


def test_the_picture_marks_what_was_added_changed_and_removed() -> None:
    before = graph({"a": {"_target_": "m.A", "x": 1}, "gone": {"_target_": "m.Gone"}})
    after = graph({"a": {"_target_": "m.A", "x": 2}, "new": {"_target_": "m.New"}})
    drawn = overlay(before, after, diff(before, after))
    assert ET.fromstring(drawn).tag.endswith("svg")  # noqa: S314 - forge drew it
    assert all(word in drawn for word in ("Gone", "New", "added", "removed", "changed"))
