"""``forge peek``: a real batch, as the model gets it."""

from __future__ import annotations

from shutil import get_terminal_size
from typing import TYPE_CHECKING, Final

from forge.cli.options import EDIT, JSON, OUTPUT, Option, Positional
from forge.cli.registry import Verb

if TYPE_CHECKING:
    from forge.cli.session import Context

__all__ = ["VERB"]

_WIDTH: Final = 100  # where there is no terminal


def _run(context: Context) -> int:
    from forge.cli.workbench import ask, require_run, show_answer  # `forge --help` starts nothing

    options = context.options
    node = context.words[0] if context.words else "dataset"
    require_run(context)
    context.config.graph_of(node)  # a part that is not there is named before anything is started
    arguments = {
        "node": node,
        "split": options.split,
        "whole": options.all,
        "width": get_terminal_size((_WIDTH, 24)).columns if context.to_terminal else _WIDTH,
        "colour": context.output.colour and context.to_terminal,
        "as_json": options.json,
    }
    return show_answer(context, ask(context, "peek", arguments))


VERB = Verb(
    name="peek",
    summary="look at a real batch, as the model gets it",
    help="""\
Prepare the data of the config as `forge train` does, and print the batch of the first step: how large it is, how much of
it is padding, and the documents in it, each token over its number. What is learned is green, what is only context dimmed;
without colours, what is learned stands in brackets. An arrow is a token that is learned and begins the next sequence.

NODE is another dataset of the config, such as one of a mixture; without it, the run's own.

  forge -t pretrain/tiny peek
  forge -t pretrain/tiny peek --split held_out
  forge -t chat/lora peek -M MODEL_FOLDER --all
  forge -t pretrain/tiny peek --json -o batch.json
""",
    run=_run,
    options=(
        Option(("--split",), "train, or the name of a held-out set", "NAME", default="train"),
        Option(("--all",), "show every document, and all of it"),
        JSON,
        OUTPUT,
        EDIT,
    ),
    positionals=(Positional("NODE", "a dataset, as a dotted path", least=0, completes="target"),),
    takes_config=True,
)
