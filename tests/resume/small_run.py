"""A small real run: a tokenizer, a model with dropout, documents cut over sequences, accumulation, evaluations, epochs."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import forge
from forge.ml.train.callback import Callback
from forge.ml.train.stopping import Stopping

if TYPE_CHECKING:
    from pathlib import Path

    from forge.ml.train.run import Run

STEPS = 50
CONFIG = """
defaults:
  - /optimizer: adamw
  - /schedule: cosine
  - /parallel: single
  - /logging: none
  - /callback: none
  - /trainer: default
  - _self_
dataset:
  _target_: forge.ml.data.corpus.TextCorpus
  train: {_target_: forge.ml.data.read.text_files, paths: ["FOLDER/text/*.txt"]}
  held_out: {_target_: forge.ml.data.read.text_files, paths: ["FOLDER/text/0*.txt"]}
  max_length: 32
  packing: greedy
  overflow: split
tokenizer:
  _target_: forge.ml.data.tokenizer.train_bpe
  dataset: ${dataset}
  vocab_size: 300
model:
  _target_: forge.ml.models.causal_lm
  attn_implementation: sdpa
  dtype: {_symbol_: torch.float32}
  config:
    _target_: transformers.GPT2Config
    vocab_size: 300
    n_positions: 32
    n_embd: 32
    n_layer: 2
    n_head: 2
    resid_pdrop: 0.1
    embd_pdrop: 0.1
    attn_pdrop: 0.0
    pad_token_id: 0
    bos_token_id: 1
    eos_token_id: 2
optimizer: {lr: 0.01}
trainer:
  output_dir: FOLDER/out
  max_steps: 50
  per_device_train_batch_size: 2
  gradient_accumulation_steps: 2
  eval_steps: 8
  save_steps: 1000
  save_total_limit: null
  mixed_precision: "no"
  torch_compile: false
"""
WORDS = [
    "the",
    "quick",
    "brown",
    "fox",
    "jumps",
    "over",
    "a",
    "lazy",
    "dog",
    "while",
    "seven",
    "wizards",
    "box",
    "with",
    "five",
    "dozen",
    "liquor",
    "jugs",
]


def make_project(folder: Path) -> Path:
    """A project with 15 short texts: an epoch is about 17 steps."""
    (folder / "configs").mkdir(parents=True)
    (folder / "text").mkdir()
    (folder / "project.yaml").write_text("name: small\n")
    (folder / "configs" / "run.yaml").write_text(CONFIG.replace("FOLDER", str(folder)))
    for number in range(15):
        words = [WORDS[(number * 7 + place * (number % 5 + 1)) % len(WORDS)] for place in range(40 + 3 * number)]
        (folder / "text" / f"{number:02}.txt").write_text(" ".join(words))
    return folder


@dataclass
class Interrupt(Callback):
    """Ask for a stop at a step: in the middle of it, after it, or while the evaluation behind it runs."""

    step: int
    moment: str

    def before_step(self, run: Run) -> None:
        if self.moment == "evaluation":
            inner = dict(run.evaluations)
            run.evaluations = {name: lambda made=made: self._interrupted(run, made()) for name, made in inner.items()}
            self.moment = "armed"
        if run.step + 1 == self.step and self.moment == "middle":
            run.stopping.interrupt("test")

    def after_step(self, run: Run, record: dict[str, Any]) -> None:  # noqa: ARG002 - what a callback is given
        if run.step == self.step and self.moment == "after":
            run.stopping.interrupt("test")

    def _interrupted(self, run: Run, batches: Any) -> Any:
        for batch in batches:
            if run.step >= self.step:
                run.stopping.interrupt("test")
            yield batch


class Seen(Callback):
    """Which examples each step has learned from."""

    def __init__(self) -> None:
        self.ids: dict[int, Any] = {}

    def before_step(self, run: Run) -> None:
        self.ids[run.step] = [batch.ids for batch in run.batch]


def freeze(project: Path, name: str, *overrides: str) -> str:
    """The run folder of the project's config with some changes."""
    run_folder = os.path.join(project, "frozen", name)
    forge.open(project).config("run", *overrides).freeze(run_folder)
    return run_folder


def carry_out(run_folder: str, *callbacks: Callback) -> Run:
    """Run what is frozen there in this process, until it ends or is interrupted."""
    from forge.ml.train.loop import train
    from forge.ml.train.setup import set_up

    run = set_up(run_folder, Stopping())
    run.callbacks = [*run.callbacks, *callbacks]
    try:
        train(run)
    finally:
        run.close()
    return run
