from __future__ import annotations

import os
import sys

import pytest

from forge.base.errors import GraphError
from forge.render.alike import ranges
from forge.render.cards import Card, picture

sys.path.insert(0, os.path.dirname(__file__))
from drawn_examples import OPEN, C, Named, Ref, decoder, graph, training


def by_name(cards: list[Card]) -> dict[str, Card]:
    return {card.name: card for card in cards}


def test_each_object_has_a_card_and_each_row_leads_to_one() -> None:
    found = picture(training())
    assert len(found.cards) == 26
    assert found.top is not None
    assert [row.key for row in found.top.rows] == ["seed", "output_dir"]
    cards = by_name(found.cards)
    assert [row.key for row in cards["trainer"].rows if row.target == cards["tokenizer"].id] == ["tokenizer"]
    assert cards["tokenizer"].users == 5
    assert cards["optimizer"].tag == "partial"
    ids = {card.id for card in found.cards}
    assert all(row.target in ids for card in found.cards for row in card.rows if row.kind == "object")


def test_plain_data_stays_in_the_card_that_holds_it() -> None:
    card = by_name(picture(decoder()).cards)["rope"]
    assert [(row.level, row.key, row.text) for row in card.rows[2:]] == [
        (0, "scaling", ""),
        (1, "factor", "8.0"),
        (1, "low", "1.0"),
        (1, "high", "4.0"),
    ]


def test_objects_of_a_list_that_are_alike_share_a_card() -> None:
    cards = by_name(picture(decoder()).cards)
    assert [(row.key, row.text) for row in cards["model"].rows if row.level] == [
        ("0, 6, 12, 18, 24, 30, 36, 42", "DecoderLayer"),
        ("1-5, 7-11, 13-17, 19-23, 25-29, 31-35, 37-41, 43-47", "DecoderLayer"),
    ]
    layer = cards["model.layers.*"]
    assert len(layer.nodes) == 40
    assert layer.rows[0].text == "1 … 47"
    assert cards["dataset"].rows[0].key == "shard0 … shard19"
    assert sum(len(card.nodes) for card in picture(decoder()).cards) == 331


def test_an_object_that_something_else_refers_to_is_drawn_itself() -> None:
    parts = [C("a.Part", {"x": number}) for number in range(5)]
    made = graph("x", {"list": parts, "user": C("a.User", {"part": Ref("list.2")})})
    counts = {card.name: len(card.nodes) for card in picture(made).cards}
    assert counts["list.*"] == 4
    assert counts["list[2]"] == 1


def test_positions_are_written_as_ranges() -> None:
    assert ranges([0, 1, 2, 5, 7, 8]) == "0-2, 5, 7-8"


def test_depth_folds_cards_into_the_rows_that_lead_to_them() -> None:
    cards = by_name(picture(training(), depth=1).cards)
    assert "model.config" not in cards
    row = next(row for row in cards["trainer"].rows if row.key == "checkpoint")
    assert (row.text, row.target) == ("Saver +1", "")


def test_focus_shows_a_node_its_users_and_its_parts() -> None:
    names = set(by_name(picture(training(), focus="model").cards))
    assert names == {"model", "model.config", "trainer"}
    assert "trainer.checkpoint" in by_name(picture(training(), focus="trainer.checkpoint.every").cards)
    with pytest.raises(GraphError, match="no node"):
        picture(training(), focus="nothing")


def test_groups_keep_their_number_in_a_part_of_the_picture() -> None:
    assert picture(training(), focus="model").order == picture(training()).order


def test_open_values_and_long_data() -> None:
    made = graph("x", {"a": C("a.B", {"open": OPEN, "data": {f"k{i}": i for i in range(100)}})})
    rows = by_name(picture(made).cards)["a"].rows
    assert rows[0].kind == "missing"
    assert len(rows) < 30
    assert rows[-1].text == "78 more"


def test_a_config_without_objects_is_its_values() -> None:
    assert picture(graph("x", {})).cards == []
    assert [card.title for card in picture(graph("x", {"a": 1, "b": {"c": 2}})).cards] == ["x", "b"]
    assert [card.title for card in picture(graph("x", {"a": Named({"c": C("a.B")})})).cards] == ["B"]


def test_marks_reach_cards_and_rows() -> None:
    marks = {("optimizer",): "changed", ("optimizer", "lr"): "changed", ("trainer", "clip"): "removed"}
    cards = by_name(picture(training(), marks=marks).cards)  # type: ignore[arg-type]
    assert cards["optimizer"].mark == "changed"
    assert [row.key for row in cards["optimizer"].rows if row.mark] == ["lr"]
    assert [row.key for row in cards["trainer"].rows if row.mark == "removed"] == ["clip"]
