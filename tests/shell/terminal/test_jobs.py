"""Trainings of a shell in a real terminal: in the background, and in the foreground with Ctrl-C."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

import pytest
from screens import ENTER, ctrl

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Open

CONFIG = """
defaults: [/optimizer: adamw, /schedule: cosine, /parallel: single, /logging: none, /callback: none, /trainer: default, _self_]
meta: {description: A model that fits anywhere.}
args: {max_steps: {key: trainer.max_steps, type: int, help: Stop after this many steps.}}
dataset:
  _target_: forge.ml.data.corpus.TextCorpus
  train: {_target_: forge.ml.data.read.text_files, paths: [FOLDER/text.txt]}
  max_length: 32
  packing: greedy
  overflow: split
tokenizer: {_target_: forge.ml.data.tokenizer.train_bpe, dataset: "${dataset}", vocab_size: 280}
model:
  _target_: forge.ml.models.causal_lm
  attn_implementation: sdpa
  dtype: {_symbol_: torch.float32}
  config:
    _target_: transformers.GPT2Config
    vocab_size: 280
    n_positions: 32
    n_embd: 16
    n_layer: 1
    n_head: 1
    pad_token_id: 0
    bos_token_id: 1
    eos_token_id: 2
trainer:
  output_dir: FOLDER/out
  max_steps: 100000
  per_device_train_batch_size: 1
  eval_strategy: "no"
  save_steps: 100000
  logging_steps: 1
  mixed_precision: "no"
  torch_compile: false
"""


@pytest.fixture
def small(project: Path) -> Path:
    (project / "configs" / "small.yaml").write_text(CONFIG.replace("FOLDER", str(project)))
    (project / "text.txt").write_text("the quick brown fox jumps over the lazy dog while wizards box\n" * 40)
    return project


@pytest.mark.torch
@pytest.mark.slow
def test_trainings_in_the_background_and_in_the_foreground(opened: Open, small: Path) -> None:
    terminal = opened("-t", "small", columns=100, lines=50, CUDA_VISIBLE_DEVICES="")
    terminal.run("train --max-steps 3 &", 60)
    assert "small-1 started: process " in terminal.text
    assert "logs small-1 -f, attach small-1, stop small-1" in terminal.text
    terminal.until("1 job").type("logs ")
    terminal.until(lambda seen: seen.listed and seen.listed[0].startswith("small-1")).send(ctrl("c"))

    # Its end is said above a line that is being typed, which stays.
    terminal.prompt().type("show --pa")
    terminal.until("small-1 finished after", 90)
    terminal.until(lambda seen: seen.before_cursor.endswith("forge:demo [small.yaml]> show --pa"))
    assert re.search(r"small-1 finished after 0:\d\d, step 3/3, loss \d+\.\d+\n.*> show --pa", terminal.text)
    terminal.send(ctrl("c"))

    # Ctrl-C once: the step is finished and saved, and the shell is there.
    terminal.prompt().type("train trainer.output_dir=once").send(ENTER)
    terminal.until(re.compile(r"step +[1-9]\d*/100000 "), 90).send(ctrl("c"))
    terminal.prompt(60)
    assert list(small.glob("once/checkpoints/checkpoint-*"))
    terminal.run("jobs --all")
    assert re.search(r"small-2\s+small\s+stopped\s+[1-9]", terminal.text)

    # Twice: it ends at once.
    terminal.send("\x0c")
    terminal.type("train trainer.output_dir=twice trainer.gradient_accumulation_steps=200").send(ENTER)
    terminal.until(re.compile(r"step +1/100000 "), 90).send(ctrl("c"))
    time.sleep(0.2)  # the same signal twice at one moment would be one
    terminal.send(ctrl("c"))
    terminal.prompt(60)
    assert not list(small.glob("twice/checkpoints/checkpoint-*"))
    terminal.run("jobs --all")
    assert re.search(r"small-3\s+small\s+(aborted|failed)", terminal.text), terminal.framed()
    terminal.type("exit").send(ENTER)
    assert terminal.ended() == 0
