from __future__ import annotations

import os
import re
import sys
from random import Random

from forge.base.secrets import Secret
from forge.graph.node import Call, Const, Edge, Graph, Map
from forge.render.mermaid import mermaid

sys.path.insert(0, os.path.dirname(__file__))
from hostile_graphs import hostile

TEXT = r"[^\"\[\]{}()<>|\n\r`\\]"
BOX = re.compile(rf'  n\d+\["(?:{TEXT}|<br/>)*"\]')
ARROW = re.compile(rf'  n\d+ (?:-->|-\.->)\|"{TEXT}*"\| n\d+')


def test_objects_are_boxes_and_uses_are_arrows() -> None:
    model = Call(("model",), "torch.nn.Linear", (), (Edge("in_features", Const(("model", "in_features"), 4)),))
    trainer = Call(("trainer",), "forge.ml.train.Trainer", (), (Edge("model", model, ref=True),), "partial")
    text = mermaid(Graph("g", Map((), (Edge("model", model), Edge("trainer", trainer)))))
    assert text.splitlines() == [
        "flowchart LR",
        '  n0["g"]',
        '  n1["model<br/>Linear<br/>in_features 4"]',
        '  n2["trainer<br/>Trainer partial"]',
        '  n0 -->|"model"| n1',
        '  n0 -->|"trainer"| n2',
        '  n2 -.->|"model"| n1',
    ]


def test_depth_and_focus_leave_boxes_out() -> None:
    inner = Call(("a", "b"), "m.Inner")
    outer = Call(("a",), "m.Outer", (), (Edge("b", inner),))
    graph = Graph("g", Map((), (Edge("a", outer), Edge("c", Call(("c",), "m.Other")))))
    assert "Inner" not in mermaid(graph, depth=1)
    assert "Other" not in mermaid(graph, focus="a")
    assert "Inner" in mermaid(graph, focus="a")


def test_hostile_texts_stay_inside_their_quotes() -> None:
    for seed in range(300):
        first, *lines = mermaid(hostile(Random(seed))).splitlines()
        assert first == "flowchart LR"
        for line in lines:
            assert BOX.fullmatch(line) or ARROW.fullmatch(line), (seed, line)


def test_a_secret_is_a_mask() -> None:
    text = mermaid(Graph("g", Map((), (Edge("api_key", Const(("api_key",), Secret("hunter2"))),))))
    assert "hunter2" not in text
