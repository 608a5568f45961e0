from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest

from forge.base.errors import GraphError
from forge.base.secrets import Secret
from forge.compose.composer import compose_fresh
from forge.compose.project import find_project
from forge.graph.equal import equal
from forge.graph.lower import lower
from forge.graph.node import Call, Const, Edge, Graph, Map
from forge.render.data import to_yaml

if TYPE_CHECKING:
    from pathlib import Path

sys.path.insert(0, os.path.dirname(__file__))

EXAMPLES = 5000 if os.environ.get("FORGE_FULL") else 500


def reread(text: str, folder: Path) -> Graph:
    """The graph of a config that holds nothing but this text."""
    (folder / "configs").mkdir(parents=True)
    (folder / "project.yaml").write_text("name: reread\n")
    (folder / "configs" / "c.yaml").write_text(text, encoding="utf-8")
    return lower(compose_fresh(find_project(str(folder)), "c"))


def config_graph(folder: Path, text: str) -> Graph:
    return reread(text, folder / "first")


SHARED = """
tokenizer: {_target_: a.Tokenizer, path: x}
model: {_target_: a.Model, _args_: [1, "${tokenizer}"], config: {sizes: [1, 2.5, null, true], empty: {}, none: []}}
optimizer: {_target_: a.AdamW, _partial_: true, lr: 1e-3, name: 'x-${model.config.sizes[0]}'}
dtype: {_symbol_: a.bfloat16}
callbacks: {_list_: true, one: {_target_: a.One}, two: "${tokenizer}"}
trainer: {_target_: a.Trainer, model: "${model}", tokenizer: "${tokenizer}", text: '\\${not.a.reference}', open: '???'}
kept: {_target_: a.Kept, _recursive_: false, inner: {_target_: a.Inner, x: 1}}
"""


def test_yaml_reads_back_as_the_same_graph(tmp_path: Path) -> None:
    graph = config_graph(tmp_path, SHARED)
    again = reread(to_yaml(graph), tmp_path / "second")
    assert equal(graph.root, again.root)


def test_yaml_names_a_shared_object_once(tmp_path: Path) -> None:
    text = to_yaml(config_graph(tmp_path, SHARED))
    assert text.count("a.Tokenizer") == 1
    assert text.count("${tokenizer}") == 3


def test_yaml_refuses_what_it_could_not_read_back() -> None:
    shared = Call(("a b",), "m.X")
    root = Map((), (Edge("a b", shared), Edge("c", shared, ref=True)))
    with pytest.raises(GraphError, match="cannot be named"):
        to_yaml(Graph("g", root))
    data = Map((), (Edge("_target_", Const(("_target_",), "os.system")),))
    with pytest.raises(GraphError, match="special"):
        to_yaml(Graph("g", data))


def test_a_secret_is_a_mask() -> None:
    graph = Graph("g", Map((), (Edge("api_key", Const(("api_key",), Secret("hunter2"))),)))
    assert "hunter2" not in to_yaml(graph)
    assert "********" in to_yaml(graph)
