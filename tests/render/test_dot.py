from __future__ import annotations

import os
import subprocess
import sys
from random import Random
from typing import TYPE_CHECKING

import pytest

from forge.base.secrets import Secret
from forge.render.dot import dot, quoted
from forge.render.layout import dot_program

if TYPE_CHECKING:
    from forge.graph.node import Graph

sys.path.insert(0, os.path.dirname(__file__))
from drawn_examples import C, Ref, decoder, graph, training
from hostile_graphs import hostile


def parsed(text: str) -> str:
    program = dot_program()
    if program is None:
        pytest.skip("needs Graphviz")
    done = subprocess.run([program, "-Tplain"], input=text, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "rror" not in done.stderr
    return done.stdout


def test_a_table_for_each_object_and_an_edge_for_each_use() -> None:
    made = graph(
        "tiny", {"model": C("torch.nn.Linear", {"in_features": 4}), "trainer": C("a.Trainer", {"model": Ref("model")})}
    )
    lines = dot(made).splitlines()
    assert lines[0] == 'digraph "tiny" {'
    assert "  c2:r0:e -> c1:head:w;" in lines
    assert '    label="model";' in lines
    node = next(line for line in lines if line.startswith("    c1 "))
    assert '<td port="head" colspan="2" align="left"><b>Linear</b> ' in node
    assert '<td align="left">in_features</td><td port="r0" align="right">4</td>' in node


@pytest.mark.parametrize("made", [training(), decoder()], ids=lambda made: made.name)
def test_graphviz_reads_it(made: Graph) -> None:
    plain = parsed(dot(made)).splitlines()
    assert sum(line.startswith("node ") for line in plain) in (26, 36)
    assert sum(line.startswith("edge ") for line in plain) > 20


def test_graphviz_reads_hostile_texts() -> None:
    for seed in range(60):
        parsed(dot(hostile(Random(seed))))


def test_quotes_and_backslashes_do_not_end_a_string() -> None:
    assert quoted('a"b\\c\n') == '"a\\"b\\\\c\\\\n"'


def test_depth_and_focus_leave_objects_out() -> None:
    assert "LlamaConfig</b>" not in dot(training(), depth=1)
    assert "Collator" not in dot(training(), focus="model.config")


def test_a_secret_is_a_mask() -> None:
    assert "hunter2" not in dot(graph("x", {"a": C("a.B", {"k": Secret("hunter2")})}))
