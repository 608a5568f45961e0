from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

import forge
from forge.plan.layout import Layout
from forge.plan.make import make_plan
from forge.plan.read import RunReading, read_run

if TYPE_CHECKING:
    from pathlib import Path


def read(config: str, *changes: str) -> RunReading:
    handle = forge.open("pydoc").config(config, *changes)
    found = read_run(handle.graph.root, handle.main)
    assert found is not None
    return found


def test_a_plan_has_everything() -> None:
    layout = Layout(pp=2, pp_schedule="1f1b", microbatches=4, dp_replicate=-1)
    plan = make_plan("x", read("pretrain/tiny"), layout=layout, ranks=4, device="cuda", per_node=2, data_tokens=10**6)
    assert plan.refused == []
    assert (plan.setup.layout.dp_replicate, len(plan.memory)) == (2, 2)
    assert {one.dimension: one.link for one in plan.sent} == {"dp_replicate": "inside a node", "pp": "between nodes"}
    assert plan.run.steps == 200
    assert any("mixed_precision auto" in note for note in plan.notes)


def test_what_stands_in_the_way_is_in_the_plan() -> None:
    plan = make_plan("x", read("pretrain/tiny"), layout=Layout(tp=2), ranks=2, device="cpu")
    assert [refusal.key for refusal in plan.refused] == ["tp"]
    assert plan.memory


def test_a_model_that_is_taken_for_another_is_said() -> None:
    reading = read("pretrain/tiny", "model.config._target_=transformers.ArceeConfig")
    plan = make_plan("x", reading, layout=Layout(), ranks=1, device="cpu", sequence_length=64)
    assert any("arcee is not known to forge" in note for note in plan.notes)
    assert plan.setup.sequence_length == 64


@pytest.mark.parametrize(
    ("held", "says"),
    [
        (50_000, ", which makes 13 % more parameters than its folder holds"),
        (60_000, ", which makes 6 % fewer"),
        (56_608, None),
    ],
)
def test_how_far_that_is_off_shows_where_there_are_weights(tmp_path: Path, held: int, says: str | None) -> None:
    sizes = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2}
    config = {"model_type": "unheard", "vocab_size": 304, "intermediate_size": 64, "head_dim": 8, **sizes}
    (tmp_path / "config.json").write_text(json.dumps(config))
    header = json.dumps({"a": {"dtype": "F32", "shape": [held]}}).encode()
    (tmp_path / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    plan = make_plan(
        "x", read("chat/full", f"model.path={tmp_path}"), layout=Layout(), ranks=1, device="cpu", sequence_length=64
    )
    (note,) = (note for note in plan.notes if "unheard is not known" in note)
    assert says is None or says in note
    assert (says is None) == note.endswith("of a llama"), plan.setup.shape.parameters


def test_what_cannot_be_planned_says_why() -> None:
    with pytest.raises(ValueError, match=r"config\.json, which is not there"):
        make_plan("x", read("chat/full"), layout=Layout(), ranks=1, device="cpu")
    with pytest.raises(ValueError, match="does not fit 3 processes"):
        make_plan("x", read("pretrain/tiny"), layout=Layout(tp=2), ranks=3, device="cpu")
