"""``forge convert``: a model folder into another one: names, tokens, chat template, type and size of its files."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

from forge.base.errors import UsageError
from forge.cli.options import Option, Positional
from forge.cli.registry import Verb

if TYPE_CHECKING:
    from forge.cli.session import Context

__all__ = ["VERB"]

_VALUES: Final = ("template", "add_tokens", "dtype", "to", "max_length", "max_shard_size")
_FLAGS: Final = ("check", "dry_run")


def _run(context: Context) -> int:
    from forge.launch.process import run_module  # `forge --help` converts nothing

    source, target = context.words
    options = context.options
    if not os.path.isdir(source):
        raise UsageError(
            f"there is no folder {source!r}", hint="name the folder of a model; `forge download REPO` gets one"
        )
    if os.path.lexists(target):
        same = os.path.realpath(source) == os.path.realpath(target)
        raise UsageError(
            "SRC and DST are the same folder, and a model is never converted in place"
            if same
            else f"{target} is there already",
            hint="name a new folder" if same else "name a new folder, or move that one away",
        )
    if options.add_tokens is not None and not os.path.isfile(options.add_tokens):
        raise UsageError(f"there is no file {options.add_tokens!r}", hint="--add-tokens names a YAML file")
    if options.max_length is not None and options.max_length < 1:
        raise UsageError("--max-length is at least 1")
    context.output.note("importing torch and transformers")  # which takes seconds
    context.output.flush()
    return run_module("forge.ml.convert", ["convert", *_arguments(options), "--", source, target])


def _arguments(options: Any) -> list[str]:
    given = {name: getattr(options, name) for name in _VALUES}
    words = [f"--{name.replace('_', '-')}={value}" for name, value in given.items() if value is not None]
    return words + [f"--{name.replace('_', '-')}" for name in _FLAGS if getattr(options, name)]


VERB = Verb(
    name="convert",
    summary="make a model folder into another one: tokens, chat template, type, names",
    help="""\
Read the model in the folder SRC and write it, changed as you say, as the new folder DST. SRC is any Hugging Face folder
(safetensors or pytorch_model*.bin), what Meta publishes (params.json and consolidated*.pth, however many parts), or a decoder
assembled from parts. No pickled code is run, and never is there more than a part of two files in memory. DST appears when all of it is on
disk; a conversion that is cut off leaves nothing under that name.

-t sets the chat template (one of forge's by name, or a file), and generation is to stop at the token that ends its turns.
--add-tokens adds the tokens that a YAML file lists; each begins as the mean of the others, or as the file says. --to says
which names the model has: hf, those of its Hugging Face architecture (the default), or assembled, those of forge's decoder
from parts. --check loads both models whole, compares their logits, and keeps DST only when they agree.

  forge convert -t chatml MODEL NEW_MODEL --add-tokens tokens.yaml
  forge convert MODEL NEW_MODEL --dtype bfloat16 --max-shard-size 2GB --check
  forge convert MODEL NEW_MODEL --to assembled
  forge convert META_LLAMA NEW_MODEL --max-length 4096 --dry-run
""",
    run=_run,
    options=(
        Option(
            ("-t", "--template"), "the chat template: a name such as chatml, or a file", "TEMPLATE", completes="file"
        ),
        Option(("--add-tokens",), "add the tokens that this file lists", "YAML", completes="file"),
        Option(("--dtype",), "the type of the weights", "TYPE", choices=("bfloat16", "float16", "float32", "float64")),
        Option(("--max-shard-size",), "how large each file is at most, such as 2GB; else 5GB", "SIZE"),
        Option(("--max-length",), "the longest text, written into the config", "N", type=int),
        Option(("--to",), "whose names the model has: hf or assembled", "NAMES", choices=("hf", "assembled")),
        Option(("--check",), "compare the logits of both models before DST is kept"),
        Option(("--dry-run",), "say what would be done, and write nothing"),
    ),
    positionals=(
        Positional("SRC", "the folder of a model", completes="file"),
        Positional("DST", "the folder to make", completes="file"),
    ),
)
