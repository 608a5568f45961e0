"""``forge model``: what a model consists of, what a step of it needs, and whether it takes one."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from forge.base.errors import UsageError
from forge.cli.options import JSON, Option, Positional
from forge.cli.registry import Verb

if TYPE_CHECKING:
    from forge.cli.session import Context

__all__ = ["VERB"]

_ACTIONS = ("show", "test")
_PARTS = ("model", "trainer", "optimizer")


def _run(context: Context) -> int:
    from forge.cli.frozen_config import run_on_config  # `forge --help` starts nothing
    from forge.launch.process import run_module

    action, folder = _words(context)
    arguments = _arguments(context)
    if action == "test":
        context.output.note("a step on random tokens: importing torch and transformers")  # which takes seconds
    context.output.flush()
    if folder is not None:
        return run_module("forge.ml.models", [action, folder, *arguments])
    return run_on_config(context, context.config, "forge.ml.models", lambda made: [action, made, *arguments], _PARTS)


def _words(context: Context) -> tuple[str, str | None]:
    action, *folders = context.words
    if action not in _ACTIONS:
        raise UsageError(f"model does not know {action!r}", hint="forge model show, or forge model test")
    if folders and not os.path.isdir(folders[0]):
        raise UsageError(
            f"there is no folder {folders[0]!r}",
            hint="name a model's folder, or choose a config: forge -t CONFIG model show",
        )
    return action, folders[0] if folders else None


def _arguments(context: Context) -> list[str]:
    options = context.options
    sizes = {"--batch": options.batch, "--seq": options.seq}
    if small := [name for name, size in sizes.items() if size is not None and size < 1]:
        raise UsageError(f"{small[0]} is at least 1")
    words = [f"{name}={size}" for name, size in sizes.items() if size is not None]
    return [*words, "--json"] if options.json else words


VERB = Verb(
    name="model",
    summary="what a model consists of and needs, and a test step of it",
    help="""\
show: the parameters of the config's model by block, and the memory that a training step of it needs with the config's
trainer, without taking that memory: the step is run on tensors that have no content.
test: take one step on random tokens, on the GPU if there is one. Its loss, time and peak memory are printed; weights or
gradients that are not finite are named. Nobody can guess random tokens: the loss of a new model is near ln(vocabulary), that of
a trained one may be higher.

With a FOLDER, the model in that folder is looked at, and no config.

Exit code 0: well. 1: the test found something that is not finite. 2: the model cannot be made.

  forge -t pretrain/tiny model show
  forge -t pretrain/tiny model show model=assembled attention=mha
  forge -t chat/lora model show -M MODEL_FOLDER --seq 4096 --batch 1
  forge model show MODEL_FOLDER --json
  forge -t pretrain/tiny model test --batch 2 --seq 64
""",
    run=_run,
    options=(
        Option(("--seq",), "so many tokens in a sequence; else the config's longest", "N", type=int),
        Option(("--batch",), "so many sequences at a time; else the config's", "N", type=int),
        JSON,
    ),
    positionals=(
        Positional("ACTION", "show or test", choices=_ACTIONS),
        Positional("FOLDER", "a Hugging Face model folder", least=0, completes="file"),
    ),
    takes_config=True,
)
