from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from forge.base.errors import GraphError, MissingValueError
from forge.base.secrets import Secret
from forge.graph.equal import equal
from forge.graph.node import Call, Const, Edge, Graph, Map, Seq
from forge.render.python import python

if TYPE_CHECKING:
    from pathlib import Path

sys.path.insert(0, os.path.dirname(__file__))
from drawn_examples import OPEN, C, Ref, Text, decoder, graph, training
from hostile_graphs import hostile
from rebuild import rebuild

GENERATED = 10_000 if os.environ.get("FORGE_FULL") else 1_000


@pytest.mark.parametrize("part", range(10))
def test_generated_graphs_parse_run_and_build_the_same_graph(part: int) -> None:
    size = GENERATED // 10
    for seed in range(part * size, (part + 1) * size):
        made = hostile(Random(seed))
        source = python(made, origins=bool(seed % 2))
        assert equal(rebuild(source), made.root), f"seed {seed}\n{source}"


@pytest.mark.parametrize("made", [training(), decoder()], ids=lambda made: made.name)
def test_a_training_config_builds_the_same_graph(made: Graph) -> None:
    for origins in (False, True):
        assert equal(rebuild(python(made, origins=origins)), made.root)


@pytest.mark.parametrize("target", ["model", "trainer", "dataset.train", "trainer.checkpoint.store"])
def test_one_target_builds_the_same_graph(target: str) -> None:
    made = training()
    node: Any = made.root
    for key in target.split("."):
        node = next(edge.node for edge in (node.items if isinstance(node, Map) else node.kwargs) if edge.key == key)
    assert equal(rebuild(python(made, target=target), target.rpartition(".")[2]), node)


def test_a_script_reads_like_one_that_somebody_wrote() -> None:
    made = graph(
        "tiny",
        {
            "seed": 7,
            "model": C("transformers.AutoModel.from_config", {"config": C("transformers.LlamaConfig", {"layers": 2}), "dtype": C("torch.bfloat16", mode="symbol")}),
            "optimizer": C("torch.optim.AdamW", {"lr": 1e-3, "betas": [0.9, 0.95]}, mode="partial"),
            "trainer": C("forge.ml.train.Trainer", {"model": Ref("model"), "optimizer": Ref("optimizer"), "folder": Text("out/${seed}", "out/7")}),
        },
    )  # fmt: skip
    assert python(made) == (
        """\
# Builds the objects of the config tiny. Written by forge.

from functools import partial

import torch
from forge.ml.train import Trainer
from torch.optim import AdamW
from transformers import AutoModel, LlamaConfig

model = AutoModel.from_config(config=LlamaConfig(layers=2), dtype=torch.bfloat16)
optimizer = partial(AdamW, lr=0.001, betas=[0.9, 0.95])
trainer = Trainer(model=model, optimizer=optimizer, folder="out/7")
objects = {"seed": 7, "model": model, "optimizer": optimizer, "trainer": trainer}


if __name__ == "__main__":
    for key, value in objects.items():
        print(f"{key}: {value}")
"""
    )


def test_origins_stand_behind_the_values() -> None:
    lines = python(training(), origins=True, target="optimizer").splitlines()
    assert "    lr=0.0006,  # /project/configs/optimizer/pretrain/tiny.yaml:2" in lines


@pytest.mark.skipif(
    shutil.which("ruff") is None and not os.path.exists(os.path.join(os.path.dirname(sys.executable), "ruff")),
    reason="needs ruff",
)
@pytest.mark.parametrize("origins", [False, True])
def test_the_formatter_has_nothing_to_change(tmp_path: Path, *, origins: bool) -> None:
    files = []
    for number, made in enumerate((training(), decoder())):
        files.append(tmp_path / f"{number}.py")
        files[-1].write_text(python(made, origins=origins), encoding="utf-8")
    ruff = shutil.which("ruff") or os.path.join(os.path.dirname(sys.executable), "ruff")
    command = [ruff, "format", "--isolated", "--diff", "--line-length", "100", *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_a_script_runs_on_its_own(tmp_path: Path) -> None:
    made = graph(
        "standard",
        {
            "start": C("datetime.date.fromisoformat", args=["2026-01-02"]),
            "count": C("collections.Counter", {"a-b": 1, "class": 2}),
            "add": C("operator.add", args=[1], mode="partial"),
            "length": C("builtins.len", mode="symbol"),
            "paths": [C("pathlib.PurePosixPath", args=["a", "b"])],
            "numbers": [float("inf"), -0.0],
        },
    )
    script = tmp_path / "graph.py"
    script.write_text(
        python(made, home={"datetime.date.fromisoformat": ("datetime", ("date", "fromisoformat"))}.get),
        encoding="utf-8",
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "start: 2026-01-02\n" in done.stdout
    assert "count: Counter({'class': 2, 'a-b': 1})" in done.stdout


def test_two_classes_of_one_name_are_reached_through_their_modules() -> None:
    source = python(graph("x", {"a": C("torch.optim.AdamW"), "b": C("other.optim.AdamW")}))
    assert "import other.optim as other_optim\nimport torch.optim as torch_optim\n" in source
    assert "a = torch_optim.AdamW()" in source
    assert "b = other_optim.AdamW()" in source


def test_nothing_hides_a_builtin_or_a_keyword() -> None:
    made = graph("x", {"print": C("a.b.list"), "class": C("a.b.print"), "float": C("a.B", {"x": float("nan")})})
    bound = {
        node.id
        for node in ast.walk(ast.parse(python(made)))
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }
    assert not bound & {"print", "class", "float", "list"}
    assert equal(rebuild(python(made)), made.root)


def test_deep_nesting_becomes_variables() -> None:
    node = Call((), "a.B")
    for _ in range(150):
        node = Call((), "a.B", (Edge(0, Seq((), (Edge(0, node),))),))
    made = Graph("deep", Map((), (Edge("top", node),)))
    assert equal(rebuild(python(made)), made.root)


@pytest.mark.parametrize(
    "target", ["", "dict", "a..b", "a.b c", "a.b;import os", "a.b()", "1.a", "a.class", "a.ﬁ", "a.b\n", "a.__debug__"]
)
def test_a_target_that_is_no_dotted_name_is_refused(target: str) -> None:
    with pytest.raises(GraphError, match="not the dotted name of a Python object"):
        python(Graph("x", Map((), (Edge("a", Call(("a",), target)),))))


def test_a_missing_value_is_refused_with_its_place() -> None:
    with pytest.raises(MissingValueError) as caught:
        python(graph("x", {"model": C("a.B", {"path": OPEN})}))
    assert (
        str(caught.value)
        == "/project/configs/model/x.yaml:2: model.path: the value is still ???\n  Give it one: model.path=VALUE"
    )


def test_an_argument_without_a_name_is_refused() -> None:
    node = Call(("a",), "a.B", kwargs=(Edge(1, Const((), 1)),))
    with pytest.raises(GraphError, match="1 is not the name of an argument"):
        python(Graph("x", node))


def test_a_secret_is_never_printed() -> None:
    source = python(graph("x", {"a": C("a.B", {"token": Secret("hunter2")}), "b": Text("${x}", [Secret("hunter2")])}))
    assert "hunter2" not in source
    assert 'token="********",  # a secret, not shown here' in source


def test_the_caller_may_know_where_a_module_ends() -> None:
    made = graph("x", {"a": C("pkg.thing.make")})
    assert "from pkg.thing import make" in python(made)
    assert "from pkg import thing" not in python(made)
    assert "import pkg\n" in python(made, home={"pkg.thing.make": ("pkg", ("thing", "make"))}.get)
