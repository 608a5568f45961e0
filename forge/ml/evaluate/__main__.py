"""``python -m forge.ml.evaluate FOLDER``: what `forge eval` runs on a frozen config."""

from __future__ import annotations

import argparse
import json
import os
import sys
import traceback
from typing import TYPE_CHECKING, Any

from forge.base.collector import collector_paused
from forge.base.ending import run_program
from forge.base.errors import ForgeError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str]) -> int:
    """Evaluate, print what came out, and return the exit code: 0, 1 when it failed, 2 for the user's mistake."""
    options = _parser().parse_args(arguments)
    try:
        with collector_paused():  # modules stay
            from forge.ml.evaluate.subject import evaluate_config

        found = evaluate_config(
            options.folder,
            checkpoint=options.checkpoint,
            dataset=options.dataset,
            tasks=options.tasks.split(",") if options.tasks else (),
            task_folder=options.task_folder,
            limit=options.limit,
            say=_say,
        )
    except ForgeError as error:
        return _refused(str(error))
    except (ValueError, OSError) as error:
        return _refused("\n  ".join([str(error), *getattr(error, "__notes__", ())]))
    from forge.ml.train.metrics import plain

    sys.stdout.write(json.dumps(plain(found), indent=2) + "\n" if options.json else _table(found))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="forge eval", allow_abbrev=False)
    parser.add_argument("folder")
    parser.add_argument("--checkpoint", default="auto")
    parser.add_argument("--dataset")
    parser.add_argument("--tasks")
    parser.add_argument("--task-folder")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--json", action="store_true")
    return parser


def _table(found: dict[str, Any]) -> str:
    rows = [("dataset", "loss", "perplexity", "tokens")]
    rows += [
        (one["dataset"], f"{one['eval_loss']:.4f}", f"{one['perplexity']:.2f}", f"{one['tokens']:,}")
        for one in found["datasets"]
    ]
    if found["tasks"]:
        rows = [("task", "figure", "value")]
        rows += [
            (task, name, f"{value:.4f}") for task, values in found["tasks"].items() for name, value in values.items()
        ]
    return "\n".join(_aligned(rows)) + "\n"


def _aligned(rows: list[tuple[str, ...]]) -> list[str]:
    """The first column stands to the left, the figures to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows]


def _refused(text: str) -> int:
    if os.environ.get("FORGE_DEBUG"):
        traceback.print_exc()
    _say(f"error: {text}")
    return 2


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    run_program(main)
