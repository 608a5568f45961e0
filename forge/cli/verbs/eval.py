"""``forge eval``: how good a config's model is on its held-out data, or on the tasks of lm-eval."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forge.base.errors import UsageError
from forge.cli.options import JSON, Option
from forge.cli.registry import Verb

if TYPE_CHECKING:
    from forge.cli.session import Context

__all__ = ["VERB"]

_OF_A_RUN = ("launch", "parallel")  # where its processes are, which one that evaluates has no need of


def _run(context: Context) -> int:
    from forge.cli.frozen_config import run_on_config  # `forge --help` evaluates nothing

    options = context.options
    if options.tasks is None and (options.task_folder or options.limit is not None):
        raise UsageError("--task-folder and --limit are for tasks", hint="name the tasks with --tasks")
    if options.tasks is not None and options.dataset is not None:
        raise UsageError(
            "--tasks asks lm-eval, --dataset a held-out set", hint="give one of them, or run forge eval twice"
        )
    if context.config.main is None:
        raise UsageError(
            f"{context.config.name} describes no run",
            hint="its trainer says what is evaluated: add '- /trainer: default' to the config's defaults",
        )
    config, _ = context.config.with_output()
    parts = [key for key in config.composed.tree if key not in _OF_A_RUN]
    return run_on_config(context, config, "forge.ml.evaluate", lambda folder: [folder, *_arguments(context)], parts)


def _arguments(context: Context) -> list[str]:
    options = context.options
    given = {
        "--checkpoint": options.checkpoint,
        "--dataset": options.dataset,
        "--tasks": options.tasks,
        "--task-folder": options.task_folder,
        "--limit": options.limit,
    }
    words = [f"{name}={value}" for name, value in given.items() if value is not None]
    return [*words, "--json"] if options.json else words


VERB = Verb(
    name="eval",
    summary="measure a model on held-out data, or on tasks",
    help="""\
Measure the loss and the perplexity of the config's model on each held-out set, every token weighing the same. The weights
are those of --checkpoint: the folder of a checkpoint or of any model of that architecture; by default (auto) the
newest valid checkpoint in the config's output folder, or the model that the config starts from when there is none. Where the
config has an adapter, a folder with an adapter is put on its model, and one with a whole model is measured without.

--tasks asks tasks of lm-eval instead (the extra eval); their data is lm-eval's own affair.

  forge -t pretrain/tiny eval
  forge -t chat/lora eval --checkpoint MODEL_FOLDER/checkpoints/checkpoint-100 --json
  forge -t chat/full eval -M MODEL_FOLDER --tasks hellaswag,arc_easy --limit 100
""",
    run=_run,
    options=(
        Option(("--checkpoint",), "take the weights of this folder; auto is the newest", "PATH", completes="file"),
        Option(("--dataset",), "measure this held-out set alone", "NAME"),
        Option(("--tasks",), "ask these tasks of lm-eval, separated by commas", "NAMES"),
        Option(("--task-folder",), "a folder with tasks of your own, in lm-eval's YAML", "FOLDER", completes="file"),
        Option(("--limit",), "ask only so many questions of each task", "N", type=int),
        JSON,
    ),
    takes_config=True,
)
