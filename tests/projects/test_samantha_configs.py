"""The configs of the samantha project: the tutorial's numbers, and the single-process ones really trained, on a small model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from forge.api import open_project
from forge.base.places import shipped_projects

if TYPE_CHECKING:
    from pathlib import Path

FOLDER = os.path.join(shipped_projects(), "samantha")
SAMANTHA = open_project(FOLDER)
NAMES = [config.name for config in SAMANTHA.configs(examine=False)]
STAGES = {"1f1b": "1f1b", "i1f1b": "interleaved_1f1b", "zb": "zbv"}


def test_every_configuration_of_the_tutorial_is_there() -> None:
    assert len(NAMES) == 16
    assert {name.split("/")[0] for name in NAMES} == {"llama2_7b", "llama3_1b"}


@pytest.mark.parametrize("name", NAMES)
def test_a_config_is_what_its_name_says(name: str) -> None:
    config = SAMANTHA.config(name)
    assert config.check() == []
    data = config.data(resolve=True)
    gpus = int(name.split("/")[1][0])
    assert (data["parallel"]["pp"], data["launch"]["nproc_per_node"]) == (gpus, gpus)
    schedule = name.partition("_pp_")[2].partition("_")[0] if "_pp_" in name else None
    assert data["parallel"]["pp_schedule"] == (STAGES[schedule] if schedule else None)
    packed = "packed" in name or name == "llama3_1b/2gpu_pp_i1f1b"
    assert (data["dataset"]["packing"], data["dataset"]["max_length"] == 4096) == (
        ("best_fit", True) if packed else ("none", False)
    )
    assert data["model"]["dtype"]["_symbol_"] == ("torch.float32" if "float32" in name else "torch.bfloat16")
    optimizer = data["optimizer"]["_target_"].rpartition(".")[2]
    assert optimizer == ("AdamW4bit" if "adamw4bit" in name else "AdamW" if "adamw" in name else "Adafactor")
    assert (data["optimizer"]["lr"], data["trainer"]["gradient_checkpointing"]) == (4e-6, True)
    assert data["trainer"]["fuse_optim_with_backward"] == (gpus == 1)


@pytest.fixture(scope="module")
def small_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of next to no size with a tokenizer, and twelve conversations."""
    transformers = pytest.importorskip("transformers")
    tokenizers = pytest.importorskip("tokenizers")
    folder = tmp_path_factory.mktemp("samantha")
    letters = tokenizers.Tokenizer(tokenizers.models.BPE(unk_token="<unk>"))  # noqa: S106 - a name of a token
    letters.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    letters.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=300, special_tokens=["<unk>", "<s>", "</s>"])
    letters.train_from_iterator(["Hello, my name is Samantha."] * 20, trainer)
    names = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
    transformers.PreTrainedTokenizerFast(tokenizer_object=letters, **names).save_pretrained(folder / "model")
    shape = {"vocab_size": 300, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    config = transformers.LlamaConfig(**shape, num_attention_heads=2, max_position_embeddings=4096)
    transformers.LlamaForCausalLM(config).save_pretrained(folder / "model")
    rows = [
        {"conversations": [{"from": "human", "value": f"Hello {n}"}, {"from": "gpt", "value": "I am Samantha."}]}
        for n in range(12)
    ]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.mark.slow
@pytest.mark.torch
@pytest.mark.parametrize("name", ["llama2_7b/1gpu_minimum", "llama3_1b/1gpu_packed"])
def test_the_settings_of_one_gpu_train_together(name: str, small_folder: Path, tmp_path: Path) -> None:
    rows = small_folder / "rows.jsonl"
    words = ["-p", FOLDER, "-t", name, "train", "-d", "cpu", "-M", str(small_folder / "model"), "--max-steps", "3"]
    words += ["--chat-template", "chatml_eos", "--output-dir", str(tmp_path), "--save-strategy", "no"]
    words += ["trainer.logging_steps=1", "logging=none", "dataset=chat_files", f"dataset.train.paths=[{rows}]"]
    words += [f"dataset.held_out={{_target_: forge.ml.data.read.file_rows, paths: [{rows}]}}"]
    done = subprocess.run([sys.executable, "-m", "forge", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (metrics,) = tmp_path.glob("runs/*/metrics.jsonl")
    records = [json.loads(line) for line in metrics.read_text().splitlines()]
    losses = [record["loss"] for record in records if "loss" in record]
    assert len(losses) == 3
    assert losses[2] < losses[0]
    assert [record["step"] for record in records if "eval_loss" in record] == [3]
