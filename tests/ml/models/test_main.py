"""What `forge model` runs: on a frozen config, and on a model folder."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from forge.api.project import open_project

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
command = pytest.importorskip("forge.ml.models.__main__")

TEXT = """\
defaults:
  - /model: tiny
  - /optimizer: adamw
  - /trainer: default
  - _self_
dataset: {_target_: forge.ml.data.corpus.TextCorpus, max_length: 48}
tokenizer: null
schedule: null
parallel: null
logging: []
callback: []
"""


@pytest.fixture
def freeze(tmp_path: Path) -> Callable[..., str]:
    """A function that freezes a small config into a folder."""

    def frozen(*changes: str) -> str:
        (tmp_path / "project.yaml").write_text("name: demo\n")
        (tmp_path / "configs").mkdir(exist_ok=True)
        (tmp_path / "configs" / "own.yaml").write_text(TEXT)
        open_project(str(tmp_path)).config("own", *changes).freeze(tmp_path / "frozen")
        return str(tmp_path / "frozen")

    return frozen


def _run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, Any]:
    code = command.main(arguments)
    return code, json.loads(capsys.readouterr().out)


def test_a_step_is_shown_as_the_config_takes_it(freeze: Callable[..., str], capsys: pytest.CaptureFixture[str]) -> None:
    folder = freeze("trainer.mixed_precision=bf16", "trainer.gradient_checkpointing=true")
    code, found = _run(capsys, "show", folder, "--json")
    assert (code, found["model"]) == (0, "LlamaForCausalLM")
    assert found["memory"]["described"] == "8 x 48 tokens, AdamW, bf16 autocast, gradient checkpointing full"
    assert found["memory"]["problem"] is None
    assert found["parameters"] == sum(block["parameters"] for block in found["blocks"])


def test_the_line_says_other_sizes(freeze: Callable[..., str], capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["show", freeze("trainer.mixed_precision=no"), "--batch=3", "--seq=17"]) == 0
    assert "memory of a step: 3 x 17 tokens, AdamW\n" in capsys.readouterr().out


def test_a_lean_model_is_shown_as_it_keeps(freeze: Callable[..., str], capsys: pytest.CaptureFixture[str]) -> None:
    _, lean = _run(capsys, "show", freeze("trainer.mixed_precision=no"), "--json")
    _, plain = _run(capsys, "show", freeze("trainer.mixed_precision=no", "model.kernels=none"), "--json")
    assert 0.6 < lean["memory"]["activations"] / plain["memory"]["activations"] < 0.85
    assert lean["memory"]["weights"] == plain["memory"]["weights"]


def test_an_adapter_of_the_config_is_shown(freeze: Callable[..., str], capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("peft")
    _, found = _run(capsys, "show", freeze("+adapter@model.adapter=lora"), "--json")
    assert 0 < found["trained"] < found["parameters"] / 5


def test_a_step_is_taken(freeze: Callable[..., str], capsys: pytest.CaptureFixture[str]) -> None:
    code, found = _run(capsys, "test", freeze("optimizer.lr=0.01"), "--batch=2", "--seq=16", "--json")
    assert (code, found["problems"]) == (0, [])
    assert found["loss_after"] < found["loss"]


def test_a_sequence_longer_than_the_positions_is_refused(
    freeze: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["test", freeze(), "--seq=100000"]) == 2
    assert "positions that the model knows" in capsys.readouterr().err


def test_a_step_that_breaks_the_model_is_a_failure(
    freeze: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["test", freeze("optimizer.lr=1e40"), "--batch=2", "--seq=16"]) == 1
    assert "not finite: the weight after the step of model." in capsys.readouterr().out


def test_a_model_folder_is_shown_without_a_config(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = transformers.LlamaConfig(
        vocab_size=64,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=96,
    )
    transformers.LlamaForCausalLM(config).save_pretrained(tmp_path)
    _, found = _run(capsys, "show", str(tmp_path), "--json")
    assert found["memory"]["described"].startswith("1 x 96 tokens, AdamW")
    code, step = _run(capsys, "test", str(tmp_path), "--json")
    assert (code, step["problems"]) == (0, [])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (("model.path=/nowhere/at/all",), "error: there is no model folder /nowhere/at/all"),
        (
            ("model.config.num_attention_heads=7",),
            "error: the model cannot be made: ValueError: The hidden size (160) is not a multiple of",
        ),
    ],
)
def test_a_model_that_cannot_be_made_is_the_users_mistake(
    freeze: Callable[..., str], capsys: pytest.CaptureFixture[str], changes: tuple[str, ...], message: str
) -> None:
    assert command.main(["show", freeze(*changes)]) == 2
    assert message in capsys.readouterr().err


def test_a_model_of_another_maker_is_refused(freeze: Callable[..., str], capsys: pytest.CaptureFixture[str]) -> None:
    folder = freeze("~model", "+model._target_=torch.nn.Linear", "+model.in_features=2", "+model.out_features=2")
    assert command.main(["show", folder]) == 2
    assert "the model of own is not made by forge.ml.models.causal_lm" in capsys.readouterr().err
