"""What a config says about its run, read from its graph."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

import forge
from forge.plan.layout import Layout
from forge.plan.read import origin_of, plain_data, read_run, setup_of

if TYPE_CHECKING:
    from pathlib import Path

    from forge.plan.read import RunReading


def read(config: str, *changes: str) -> RunReading:
    handle = forge.open("pydoc").config(config, *changes)
    found = read_run(handle.graph.root, handle.main)
    assert found is not None
    return found


def test_a_config_of_the_library() -> None:
    found = read("pretrain/tiny")
    assert found.shape is not None
    assert (found.shape.model_type, found.shape.layers, found.shape.vocab) == ("llama", 4, 4096)
    assert (found.layout, found.ranks, found.batch_size, found.sequence_length) == (Layout(), 1, 8, 256)
    setup = setup_of(found, layout=Layout(), ranks=1, device="cuda")
    assert (setup.weights, setup.precision, setup.optimizer.kind, setup.optimizer.one_kernel) == (
        "float32",
        "bf16",
        "adamw",
        True,
    )
    assert setup_of(found, layout=Layout(), ranks=1, device="cpu").precision == "no"


@pytest.mark.parametrize(
    "model", ["llama3_8b", "qwen3_0.6b", "gpt2", "mistral_7b", "assembled_llama", "assembled_gpt", "smollm2_135m"]
)
def test_every_kind_of_model_has_a_shape(model: str) -> None:
    assert read("pretrain/tiny", f"model={model}").shape is not None


def test_a_folder_tells_the_shape_by_its_own_config(tmp_path: Path) -> None:
    sizes = {"model_type": "qwen2", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    (tmp_path / "config.json").write_text(json.dumps({**sizes, "intermediate_size": 96, "vocab_size": 128}))
    found = read("chat/lora", f"model.path={tmp_path}", "model.resize_to=130")
    assert found.shape is not None
    assert (found.shape.model_type, found.shape.vocab) == ("qwen2", 130)
    setup = setup_of(found, layout=Layout(), ranks=1, device="cuda")
    assert (setup.adapter_rank, setup.four_bits, setup.checkpointing, setup.accumulation) == (16, False, True, 4)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "which is not there; give another folder with -M FOLDER, or name a published size"),
        ("{", "this is not JSON"),
        ("[]", "this is not a JSON object, but a list"),
        ("{}", "does not say num_hidden_layers"),
    ],
)
def test_what_a_folder_does_not_tell_is_said(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    found = read("chat/full", f"model.path={tmp_path}")
    assert found.shape is None
    assert message in found.problem
    with pytest.raises(ValueError, match=message):
        setup_of(found, layout=Layout(), ranks=1, device="cpu")


@pytest.mark.parametrize(
    ("changes", "ranks"),
    [
        ([], 1),
        (["parallel=tp"], 2),
        (["parallel=fsdp"], 2),
        (["parallel=pp_fsdp_tp"], 8),
        (["parallel=fsdp", "launch.nproc_per_node=3"], 3),
    ],
)
def test_how_many_processes_are_meant(changes: list[str], ranks: int) -> None:
    assert read("pretrain/tiny", *changes).ranks == ranks


def test_microbatches_are_judged_with_those_of_all_accumulated_batches() -> None:
    changes = ["parallel=pp_i1f1b", "parallel.microbatches=3", "trainer.per_device_train_batch_size=3"]
    (found,) = read("pretrain/tiny", *changes, "trainer.gradient_accumulation_steps=3").refusals()
    assert found.what.startswith("9 microbatches")
    assert read("pretrain/tiny", *changes, "trainer.gradient_accumulation_steps=2").refusals() == []


def test_a_layout_that_is_none_says_why() -> None:
    found = read("pretrain/tiny", "parallel=pp_1f1b", "parallel.microbatches=1")
    assert found.layout is None
    assert "1f1b needs 2 or more" in found.refused


def test_a_config_without_a_trainer_is_no_run() -> None:
    handle = forge.open("pydoc").config("pretrain/tiny")
    assert read_run(handle.graph.root, None) is None
    assert read_run(handle.graph.root, "model.config") is None


def test_plain_data_and_where_it_is_written() -> None:
    handle = forge.open("pydoc").config("pretrain/tiny", "parallel=tp")
    found = read("pretrain/tiny", "parallel=tp")
    assert found.parallel is not None
    data: dict[str, Any] = plain_data(found.parallel)
    assert (data["_target_"], data["tp"]) == ("forge.ml.parallel.Layout", 2)
    assert plain_data(handle.graph.root)["model"]["dtype"] == "torch.float32"
    assert str(origin_of(found.parallel, "tp")).endswith("configs/parallel/tp.yaml:4")
    assert str(origin_of(found.parallel, "nothing")).endswith("configs/parallel/tp.yaml:1")
    assert origin_of(None, "tp") is None
