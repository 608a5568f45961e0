"""``python -m forge.ml.train RUN``: one process of a run, from its frozen folder to its exit code."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from enum import IntEnum
from typing import TYPE_CHECKING

from forge.base.errors import ForgeError
from forge.ml.train.stopping import Stopping

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Ending", "main"]


class Ending(IntEnum):
    """How a run ended, as its exit code says it."""

    FINISHED = 0
    FAILED = 1
    REFUSED = 2
    STOPPED = 3
    ABORTED = 130


def main(arguments: Sequence[str]) -> int:
    """Run what the folder describes; the exit code says how it ended."""
    if len(arguments) != 1:
        _say("usage: python -m forge.ml.train RUN_FOLDER")
        return Ending.REFUSED
    stopping = Stopping()
    stopping.listen()  # before torch is imported, which takes seconds
    try:
        return _run(arguments[0], stopping)
    except KeyboardInterrupt:
        _say("aborted: nothing was saved since the last checkpoint")
        return Ending.ABORTED


def _run(folder: str, stopping: Stopping) -> int:
    from forge.ml.train.finish import finish
    from forge.ml.train.loop import train
    from forge.ml.train.setup import set_up

    try:
        run = set_up(folder, stopping)
    except ForgeError as error:
        return _refused(str(error))
    except (ValueError, OSError) as error:
        return _refused("\n  ".join([str(error), *getattr(error, "__notes__", ())]))
    try:
        train(run)
        finish(run)
    except ForgeError as error:
        _say(f"error: {error}")
        return Ending.FAILED
    except Exception:  # noqa: BLE001 - a model may raise anything; the traceback is what its user needs
        traceback.print_exc()
        return Ending.FAILED
    finally:
        run.close()
    return Ending.STOPPED if stopping.interrupted and run.step < run.total_steps else Ending.FINISHED


def _refused(text: str) -> int:
    if os.environ.get("FORGE_DEBUG"):
        traceback.print_exc()
    _say(f"error: {text}")
    return Ending.REFUSED


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    code = main(sys.argv[1:])
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    # Threads of libraries may not end by themselves, and everything worth keeping is on disk.
    os._exit(code)
