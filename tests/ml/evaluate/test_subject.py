"""The model of a config, measured on the config's held-out text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from forge.api.project import open_project
from forge.base.errors import CheckpointError, DataError, RunError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
subject = pytest.importorskip("forge.ml.evaluate.subject")

CONFIG = """\
defaults: [model: tiny, tokenizer: bpe, optimizer: adamw, schedule: constant, parallel: single, logging: none, callback: none,
  trainer: default, _self_]
dataset:
  _target_: forge.ml.data.corpus.TextCorpus
  train: ["the cat sat on the mat and the dog sat on the log", "a cat and a dog"]
  held_out: {short: ["the cat and the dog"], long: ["the dog sat on the cat and the mat", "a log and a mat"]}
  max_length: 64
  packing: none
tokenizer: {vocab_size: 260, min_frequency: 3}
model:
  dtype: {_symbol_: torch.float32}
  config: {vocab_size: 260, hidden_size: 32, intermediate_size: 64, num_hidden_layers: 2, num_attention_heads: 2,
    num_key_value_heads: 2, head_dim: 16, pad_token_id: 0, bos_token_id: 1, eos_token_id: 2}
trainer: {output_dir: out, mixed_precision: "no", per_device_eval_batch_size: 2}
"""


@pytest.fixture
def freeze(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Freeze the config with changes; the folder is returned."""
    (tmp_path / "configs").mkdir()
    (tmp_path / "project.yaml").write_text("name: demo\ndefault_config: small\n")
    (tmp_path / "configs" / "small.yaml").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)

    def frozen(*changes: str) -> str:
        folder = tmp_path / "frozen"
        open_project(tmp_path).config("small", *changes).freeze(folder)
        return str(folder)

    return frozen


@pytest.fixture
def weights(tmp_path: Path, freeze: Callable[..., str]) -> str:
    """A model folder of the config's architecture with weights of its own, as transformers saves it."""
    freeze()
    model = open_project(tmp_path).config("small").build("model")
    with torch.no_grad():
        for weight in model.parameters():
            weight.normal_(std=0.3, generator=torch.Generator().manual_seed(1))
    model.save_pretrained(tmp_path / "weights")
    return str(tmp_path / "weights")


def by_hand(folder: str, tokenizer: Any, texts: list[str]) -> tuple[float, int]:
    """The loss of some documents by transformers alone, one after another."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    total, tokens = 0.0, 0
    for text in texts:
        ids = torch.tensor([[*tokenizer(text)["input_ids"], tokenizer.eos_token_id]])
        with torch.no_grad():
            total += float(model(ids, labels=ids).loss) * (ids.shape[1] - 1)
        tokens += ids.shape[1] - 1
    return total / tokens, tokens


@pytest.mark.parametrize("packing", ["none", "greedy"])
def test_the_loss_is_that_of_transformers_each_token_weighing_the_same(
    tmp_path: Path, freeze: Callable[..., str], weights: str, packing: str
) -> None:
    said: list[str] = []
    found = subject.evaluate_config(freeze(f"dataset.packing={packing}"), checkpoint=weights, say=said.append)
    config = open_project(tmp_path).config("small")
    tokenizer, held_out = config.build("tokenizer"), config.build("dataset").held_out
    assert [record["dataset"] for record in found["datasets"]] == ["short", "long"]
    for record in found["datasets"]:
        loss, tokens = by_hand(weights, tokenizer, list(held_out[record["dataset"]]))
        assert record["tokens"] == tokens
        assert record["eval_loss"] == pytest.approx(loss, rel=1e-5)
    assert found["weights"] == weights
    assert said[0] == f"weights: {weights}"


def test_rows_that_cannot_be_measured_are_told(freeze: Callable[..., str], weights: str) -> None:
    said: list[str] = []
    lost = freeze("dataset.held_out.short=[one text, '', another text]")
    subject.evaluate_config(lost, checkpoint=weights, dataset="short", say=said.append)
    assert "short: 1 of 3 rows not used: an empty document; the first is row 1" in said


def test_one_held_out_set_alone(freeze: Callable[..., str], weights: str) -> None:
    found = subject.evaluate_config(freeze(), checkpoint=weights, dataset="long", say=lambda _: None)
    assert [record["dataset"] for record in found["datasets"]] == ["long"]


def test_a_model_that_starts_from_a_folder_is_measured_before_any_training(
    freeze: Callable[..., str], weights: str
) -> None:
    found = subject.evaluate_config(freeze(f"model.path={weights}"), say=lambda _: None)
    assert found["weights"] == f"{weights}, before any training"
    assert found["datasets"] == subject.evaluate_config(freeze(), checkpoint=weights, say=lambda _: None)["datasets"]


def test_a_whole_model_is_measured_without_the_adapter_of_the_config(freeze: Callable[..., str], weights: str) -> None:
    pytest.importorskip("peft")
    said: list[str] = []
    tuned = freeze(f"model.path={weights}", "+adapter@model.adapter=lora")
    found = subject.evaluate_config(tuned, checkpoint=weights, dataset="long", say=said.append)
    assert (
        said[0] == f"{weights} holds a whole model and no adapter: the model is measured without the config's adapter"
    )
    plain = subject.evaluate_config(freeze(), checkpoint=weights, dataset="long", say=lambda _: None)
    assert found["datasets"] == plain["datasets"]


def test_weights_that_have_learned_nothing_are_refused(freeze: Callable[..., str]) -> None:
    with pytest.raises(RunError, match=r"no checkpoint in out.checkpoints, and the config's own model has learned"):
        subject.evaluate_config(freeze(), say=lambda _: None)


@pytest.mark.parametrize(
    ("changes", "settings", "error", "message"),
    [
        ((), {"checkpoint": "nosuch"}, RunError, "there is no checkpoint nosuch"),
        ((), {"dataset": "lng"}, DataError, "there is no held-out set 'lng'"),
        (("~dataset.held_out",), {}, DataError, "the dataset holds nothing out"),
        (("dataset.max_length=100000",), {}, DataError, "the model knows"),
    ],
)
def test_a_mistake_is_named(
    freeze: Callable[..., str],
    weights: str,
    changes: tuple[str, ...],
    settings: dict[str, Any],
    error: type[Exception],
    message: str,
) -> None:
    with pytest.raises(error, match=message):
        subject.evaluate_config(freeze(*changes), **{"checkpoint": weights, "say": lambda _: None, **settings})


def test_a_checkpoint_that_is_not_whole_is_refused(tmp_path: Path, freeze: Callable[..., str], weights: str) -> None:
    (tmp_path / "weights" / "manifest.json").write_text("{}")
    with pytest.raises(CheckpointError):
        subject.evaluate_config(freeze(), checkpoint=weights, say=lambda _: None)


def test_tasks_are_asked_of_the_same_weights(
    freeze: Callable[..., str], weights: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors.torch import load_file

    from forge.ml.evaluate import tasks

    seen: dict[str, Any] = {}

    def answer(model: Any, _tokenizer: Any, names: Any, **settings: Any) -> dict[str, Any]:
        seen.update(settings, names=names, weights={name: w.clone() for name, w in model.state_dict().items()})
        assert not model.training
        return {"a": {"acc": 0.5}}

    monkeypatch.setattr(tasks, "run_tasks", answer)
    found = subject.evaluate_config(
        freeze(), checkpoint=weights, tasks=["a"], task_folder="T", limit=3, say=lambda _: None
    )
    assert (found["datasets"], found["tasks"]) == ([], {"a": {"acc": 0.5}})
    assert (seen["names"], seen["folder"], seen["limit"], seen["batch_size"]) == (["a"], "T", 3, 2)
    for name, weight in load_file(f"{weights}/model.safetensors").items():
        assert torch.equal(seen["weights"][name], weight)
