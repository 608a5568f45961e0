from __future__ import annotations

import json
import os
import sys
from random import Random
from typing import TYPE_CHECKING, Any

from forge.base.origin import Origin
from forge.base.secrets import MASK, Secret
from forge.graph.node import Call, Const, Edge, Graph, Map
from forge.render.cards import picture
from forge.render.entries import entries

sys.path.insert(0, os.path.dirname(__file__))
from drawn_examples import C, Ref, Text, decoder, graph, training
from hostile_graphs import hostile

if TYPE_CHECKING:
    from pathlib import Path


def read(found: Graph, **chosen: Any) -> dict[str, Any]:
    return entries(found, picture(found, **chosen))


def by_path(data: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {node["path"]: node for node in data["nodes"]}


def row(node: dict[str, Any], key: str) -> dict[str, Any]:
    return next(each for each in node["rows"] if each["key"] == key)


SMALL = graph(
    "small",
    {
        "seed": 42,
        "model": C("torch.nn.Linear", {"in_features": 4, "scale": {"by": 2.0}}),
        "trainer": C("forge.ml.train.Trainer", {"model": Ref("model"), "seed": Ref("seed"), "name": Text("${a}-x", "b-x")}),
    },
)  # fmt: skip


def test_nodes_come_in_the_order_of_the_config() -> None:
    assert [node["path"] for node in read(SMALL)["nodes"]] == ["", "model", "model.scale", "trainer"]


def test_a_value_says_where_it_is_written_and_what_it_was_made_of() -> None:
    data = read(SMALL)
    trainer = by_path(data)["trainer"]
    name = row(trainer, "name")
    assert (name["text"], name["formula"], name["path"]) == ("b-x", "${a}-x", "trainer.name")
    assert data["origins"][name["origin"]]["place"].startswith("/project/configs/trainer/small.yaml:")
    assert row(trainer, "seed")["to"] == "seed"
    assert row(by_path(data)[""], "seed")["users"] == ["trainer.seed"]


def test_a_shared_node_names_its_users_and_its_users_name_it() -> None:
    nodes = by_path(read(SMALL))
    assert nodes["model"]["users"] == ["trainer.model"]
    assert row(nodes["trainer"], "model") | {"origin": None} == {
        "key": "model", "path": "trainer.model", "origin": None, "to": "model", "owned": False,
    }  # fmt: skip
    assert nodes["model.scale"]["owner"] == "model"


def test_plain_data_is_shown_by_the_card_it_lies_in() -> None:
    nodes = by_path(read(SMALL))
    assert nodes["model.scale"]["card"] == nodes["model"]["card"]
    assert nodes["trainer"]["card"] != nodes["model"]["card"]


def test_every_node_of_a_stack_belongs_to_one_card() -> None:
    data = read(decoder(12))
    layers = {node["card"] for path, node in by_path(data).items() if path.startswith("model.layers[1].norm1")}
    assert len(layers) == 1
    assert "model.layers[1].norm1" in data["cards"][layers.pop()]["nodes"]


def test_folding_the_picture_leaves_no_node_out() -> None:
    assert by_path(read(training())).keys() == by_path(read(training(), depth=1)).keys()
    assert by_path(read(training())).keys() == by_path(read(training(), focus="model")).keys()


def test_secrets_and_their_lines_are_nowhere(tmp_path: Path) -> None:
    file = tmp_path / "hub.yaml"
    file.write_text("hub:\n  code: hunter2\n  api_key: swordfish\nuser: me\n")
    path = str(file)
    code = Const(("hub", "code"), Secret("hunter2"), origin=Origin(path, 2))
    key = Const(("hub", "api_key"), "swordfish", origin=Origin(path, 3))
    typed = Const(("user",), "me", origin=Origin("", layer="override", text="hub={api_key: swordfish}"))
    hub = Call(("hub",), "m.Hub", (), (Edge("code", code), Edge("api_key", key)), origin=Origin(path, 1))
    data = read(Graph("g", Map((), (Edge("hub", hub), Edge("user", typed)))))
    found = by_path(data)["hub"]
    assert row(found, "code")["text"] == MASK
    assert data["origins"][row(found, "code")["origin"]]["line"] == ""
    assert data["origins"][row(found, "api_key")["origin"]]["line"] == ""
    assert data["origins"][found["origin"]]["line"] == "hub:"
    assert "hunter2" not in json.dumps(data)
    assert "swordfish" not in json.dumps(data["origins"])


def test_any_graph_becomes_plain_json() -> None:
    for seed in range(100):
        found = hostile(Random(seed))
        data = json.loads(json.dumps(read(found), allow_nan=False))
        assert all(node["card"] is None or node["card"] in data["cards"] for node in data["nodes"])
