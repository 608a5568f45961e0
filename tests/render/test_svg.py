from __future__ import annotations

import os
import re
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from random import Random

import pytest

import forge
from forge.base.secrets import Secret
from forge.graph.node import Call, Const, Edge, Graph, Map
from forge.render.svg import svg

sys.path.insert(0, os.path.dirname(__file__))
from drawn_examples import C, Text, decoder, graph, training
from hostile_graphs import hostile

SVG = "{http://www.w3.org/2000/svg}"
ELEMENTS = {"svg", "style", "rect", "text", "g", "path", "title", "circle", "a"}
ATTRIBUTES = {"class", "x", "y", "width", "height", "rx", "d", "id", "data-group", "data-from", "data-to", "transform", "cx", "cy", "r",
              "viewBox", "role", "aria-label", "href"}  # fmt: skip


def read(text: str) -> ET.Element:
    root = ET.fromstring(text)  # noqa: S314 - our own output
    for element in root.iter():
        assert element.tag.removeprefix(SVG) in ELEMENTS
        assert set(element.attrib) <= ATTRIBUTES
    return root


def texts(root: ET.Element, name: str) -> list[str]:
    return [each.text or "" for each in root.iter(f"{SVG}text") if name in each.get("class", "").split()]


@pytest.mark.parametrize("engine", ["own", "auto"])
def test_each_object_is_drawn_once(engine: str) -> None:
    root = read(svg(training(), engine=engine))  # type: ignore[arg-type]
    titles = texts(root, "title")
    assert len(titles) == 25
    assert titles.count("train_bpe") == 1
    assert texts(root, "pill-text").count("5 users") == 1
    assert texts(root, "count") == ["24 objects"]
    assert texts(root, "caption") == ["pretrain/tiny"]
    lines = [each for each in root.iter(f"{SVG}g") if each.get("class", "").startswith("line")]
    assert len(lines) == 28
    ids = {each.get("id") for each in root.iter() if each.get("id")}
    assert all(each.get("data-from") in ids and each.get("data-to") in ids for each in lines)


def test_groups_of_several_objects_are_boxes_with_a_title() -> None:
    root = read(svg(training()))
    assert sorted(texts(root, "group")) == ["dataset", "logging", "model", "parallel", "tokenizer", "trainer"]


def test_a_tooltip_has_path_target_place_and_values() -> None:
    root = read(svg(training()))
    tips = [each.text or "" for each in root.iter(f"{SVG}title")]
    tip = next(tip for tip in tips if tip.startswith("optimizer\n"))
    assert tip.split("\n")[:5] == [
        "optimizer",
        "torch.optim.AdamW (partial)",
        "/project/configs/pretrain/tiny.yaml:1",
        "",
        "lr: 0.0006",
    ]


def test_links_are_there_when_asked_for() -> None:
    assert not list(read(svg(training())).iter(f"{SVG}a"))
    places = [each.get("href", "") for each in read(svg(training(), links="vscode")).iter(f"{SVG}a")]
    assert "vscode://file/project/configs/optimizer/pretrain/tiny.yaml:2:3" in places
    places = [each.get("href", "") for each in read(svg(training(), links="file")).iter(f"{SVG}a")]
    assert "/project/configs/optimizer/pretrain/tiny.yaml#L2" in places


def test_it_has_a_dark_side_and_nothing_from_outside() -> None:
    text = svg(decoder())
    assert "@media (prefers-color-scheme: dark)" in text
    assert "url(" not in text
    assert "@import" not in text
    assert re.findall(r"https?://[^\"]+", text) == ["http://www.w3.org/2000/svg"]


def test_objects_that_are_alike_are_one_stack() -> None:
    root = read(svg(decoder()))
    assert texts(root, "count") == ["328 objects, 33 drawn"]
    assert "40 alike" in texts(root, "pill-text")


def test_texts_stay_inside_their_cards() -> None:
    """With the widest of the usual fonts: 0.6 of the size a letter in rows, so do keys and values not meet."""
    for made in (training(), decoder()):
        root = read(svg(made))
        for card in root.iter(f"{SVG}g"):
            widths = [float(each.get("width", 0)) for each in card.findall(f"{SVG}rect") if each.get("class") == "card"]
            for row in card.findall(f"{SVG}g"):
                letters = sum(len(each.text or "") for each in row.iter(f"{SVG}text"))
                assert not widths or letters * 6.6 + 24 <= widths[0]


def test_hostile_texts_stay_texts() -> None:
    for seed in range(300):
        read(svg(hostile(Random(seed)), engine="own", links=("file", "vscode", None)[seed % 3]))  # type: ignore[arg-type]


def test_comparisons_are_marked() -> None:
    marks = {("optimizer",): "changed", ("optimizer", "lr"): "changed", ("trainer", "checkpoint"): "removed"}
    root = read(svg(training(), marks=marks))  # type: ignore[arg-type]
    classes = [each.get("class", "") for each in root.iter(f"{SVG}g") if each.get("id")]
    assert sum("changed" in name.split() for name in classes) == 1
    assert sum("removed" in name.split() for name in classes) == 1
    assert sum(each.get("class") == "wash-changed" for each in root.iter(f"{SVG}rect")) == 1


def test_a_secret_is_a_mask() -> None:
    made = graph(
        "x", {"k": Secret("hunter2"), "a": C("a.B", {"k": Secret("hunter2")}), "b": Text("${x}", [Secret("hunter2")])}
    )
    assert "hunter2" not in svg(made)
    assert "********" in svg(made)


def test_parts_depth_focus_and_title() -> None:
    assert texts(read(svg(training(), target="optimizer")), "title") == ["AdamW"]
    assert "LlamaConfig" not in texts(read(svg(training(), depth=1)), "title")
    assert set(texts(read(svg(training(), focus="model", title="")), "name")) == {"model", "model.config", "trainer"}
    assert texts(read(svg(training(), title="Mine")), "caption") == ["Mine"]
    assert texts(read(svg(training(), title="")), "caption") == []


def test_an_empty_config_is_an_empty_picture() -> None:
    read(svg(Graph("empty", Map((), ()))))
    read(svg(Graph("value", Const(("x",), 1))))


def test_a_deep_graph_meets_no_recursion_limit() -> None:
    node = Call((), "a.B")
    for _ in range(1_500):
        node = Call((), "a.B", (), (Edge("x", node),))
    read(svg(Graph("deep", Map((), (Edge("top", node),))), engine="own"))


def test_the_picture_of_the_readme_is_what_is_drawn_now() -> None:
    root = Path(__file__).parents[2]
    drawn = read(svg(forge.open(root / "projects" / "pydoc").config("pretrain/tiny").graph))
    kept = read((root / "docs" / "images" / "pydoc-tiny.svg").read_text(encoding="utf-8"))
    assert sorted(kept.itertext()) == sorted(drawn.itertext())
