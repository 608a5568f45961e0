"""``forge export``: the trained model of a run as a folder that stands on its own."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from forge.base.errors import UsageError
from forge.cli.options import Option, Positional
from forge.cli.registry import Verb

if TYPE_CHECKING:
    from forge.cli.session import Context

__all__ = ["VERB"]

_VALUES: Final = ("checkpoint", "base", "template", "dtype", "max_shard_size")


def _run(context: Context) -> int:
    from forge.launch.process import run_module  # `forge --help` exports nothing

    run, target = context.words
    options = context.options
    if not os.path.isdir(run):
        raise UsageError(f"there is no folder {run!r}", hint="name a run's output folder, or one of its checkpoints")
    if os.path.lexists(target):
        raise UsageError(f"{target} is there already", hint="name a new folder, or move that one away")
    given = {name: getattr(options, name) for name in _VALUES}
    words = [f"--{name.replace('_', '-')}={value}" for name, value in given.items() if value is not None]
    if options.best:
        words.append("--best")
    context.output.note("importing torch and transformers")  # which takes seconds
    context.output.flush()
    return run_module("forge.ml.convert", ["export", *words, "--", run, target])


VERB = Verb(
    name="export",
    summary="make a trained model a folder that stands on its own",
    help="""\
Write the model of a run as the new folder DST, for transformers, vLLM and the converter of llama.cpp: weights, tokenizer with its
chat template, generation config that stops where the template ends turns, and a card with the run's config, data and
figures. RUN is an output folder, a run's folder in it, one checkpoint, or the folder of an adapter.

The newest checkpoint that is whole is taken, unless you name another one or ask for the best. A LoRA or DoRA adapter is merged
into its base model, one tensor at a time. DST appears when all of it is on disk.

  forge export MODEL_FOLDER NEW_MODEL
  forge export MODEL_FOLDER NEW_MODEL --best --dtype bfloat16
  forge export MODEL_FOLDER NEW_MODEL --checkpoint 200
  forge export ADAPTER_FOLDER NEW_MODEL --base MODEL
""",
    run=_run,
    options=(
        Option(("--checkpoint",), "take this checkpoint: its folder, or its step", "CHECKPOINT", completes="file"),
        Option(("--best",), "take the checkpoint with the best score"),
        Option(("--base",), "where the model is that an adapter was trained on", "FOLDER", completes="file"),
        Option(
            ("--template",), "another chat template: a name such as chatml, or a file", "TEMPLATE", completes="file"
        ),
        Option(("--dtype",), "the type of the weights", "TYPE", choices=("bfloat16", "float16", "float32", "float64")),
        Option(("--max-shard-size",), "how large each file is at most, such as 2GB; else 5GB", "SIZE"),
    ),
    positionals=(
        Positional("RUN", "a run's output folder, or a checkpoint", completes="file"),
        Positional("DST", "the folder to make", completes="file"),
    ),
)
