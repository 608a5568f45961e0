from __future__ import annotations

import os
import re
import sys
from random import Random

import pytest

from forge.base.errors import GraphError
from forge.base.secrets import Secret
from forge.graph.node import Call, Edge, Graph, Map
from forge.render.tree import tree

sys.path.insert(0, os.path.dirname(__file__))
from drawn_examples import OPEN, C, Named, Ref, Text, decoder, graph, training
from hostile_graphs import hostile


def small() -> Graph:
    return graph(
        "tiny",
        {
            "seed": 7,
            "model": C("torch.nn.Linear", {"in_features": 4, "dtype": C("torch.bfloat16", mode="symbol")}),
            "optimizer": C("torch.optim.AdamW", {"lr": 1e-3, "betas": [0.9, 0.95]}, mode="partial"),
            "trainer": C(
                "forge.ml.train.Trainer",
                {
                    "model": Ref("model"),
                    "folder": Text("out/${seed}", "out/7"),
                    "data": OPEN,
                    "callbacks": Named(
                        {"save": C("a.Saver", {"every": 5}), "log": C("a.Log", {"model": Ref("model")})}
                    ),
                },
            ),
        },
    )


def test_a_tree_folds_values_and_draws_shared_objects_once() -> None:
    assert (
        tree(small())
        == """\
tiny
│  seed 7
├─ model  Linear  2 users  in_features 4 · dtype torch.bfloat16
├─ optimizer  AdamW partial  lr 0.001 · betas [0.9, 0.95]
└─ trainer  Trainer  model → model · folder out/7 · data ???
   └─ callbacks  [2]
      ├─ save  Saver  every 5
      └─ log  Log  model → model"""
    )


def test_values_that_do_not_fit_go_below() -> None:
    lines = tree(training(), width=60).splitlines()
    start = next(number for number, line in enumerate(lines) if "config  LlamaConfig" in line)
    assert lines[start + 1] == "│        hidden_size 256 · intermediate_size 688"


@pytest.mark.parametrize("width", [40, 60, 80, 100, 160])
def test_lines_of_values_keep_the_width(width: int) -> None:
    for line in tree(training(), width=width).splitlines():
        if " · " in line:
            assert len(line) <= max(width, 60)


def test_depth_folds_what_lies_deeper_and_counts_it() -> None:
    lines = tree(training(), depth=1).splitlines()
    assert "├─ dataset  … 6 more" in lines
    assert not any("LlamaConfig" in line for line in lines)


def test_a_target_is_the_root_and_holds_what_it_uses() -> None:
    lines = tree(small(), target="trainer").splitlines()
    assert lines[0] == "tiny:trainer  Trainer"
    assert any(line.startswith("├─ model  Linear") for line in lines)


def test_focus_shows_a_node_and_its_users() -> None:
    head, values, *users = tree(small(), focus="model").splitlines()
    assert (head, values) == ("model  Linear", "   in_features 4 · dtype torch.bfloat16")
    assert set(users) == {"← trainer.model  Trainer", "← trainer.callbacks.log.model  Log"}


def test_an_unknown_node_is_an_error_with_a_suggestion() -> None:
    with pytest.raises(GraphError, match="no node 'modle'") as caught:
        tree(small(), focus="modle")
    assert caught.value.hint == "did you mean 'model'?"


def test_colour_changes_nothing_but_colour() -> None:
    painted = tree(training(), color=True)
    assert "\x1b[1mTrainer\x1b[0m" in painted
    assert re.sub(r"\x1b\[[\d;]*m", "", painted) == tree(training())


def test_hostile_texts_move_no_cursor() -> None:
    for seed in range(300):
        for line in tree(hostile(Random(seed))).split("\n"):
            assert line.isprintable(), seed


def test_a_secret_is_a_mask() -> None:
    text = tree(graph("x", {"a": C("a.B", {"k": Secret("hunter2")}), "b": Text("${x}", [Secret("hunter2")])}))
    assert "hunter2" not in text
    assert "k ********" in text


def test_a_deep_graph_meets_no_recursion_limit() -> None:
    node = Call((), "a.B")
    for _ in range(2_000):
        node = Call((), "a.B", (), (Edge("x", node),))
    assert tree(Graph("deep", Map((), (Edge("top", node),)))).count("\n") == 2_001


def test_a_large_graph_has_a_line_or_two_for_each_object() -> None:
    assert 350 < tree(decoder()).count("\n") < 700
