"""``python -m forge.ml.train RUN``: one process of a run, from its frozen folder to its exit code."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from typing import TYPE_CHECKING, Final

from forge.base.errors import ForgeError
from forge.ml.train.stopping import Stopping

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["FAILED", "FINISHED", "INTERRUPTED", "REFUSED", "STOPPED", "main"]

FINISHED: Final = 0
FAILED: Final = 1
REFUSED: Final = 2
STOPPED: Final = 3
INTERRUPTED: Final = 130


def main(arguments: Sequence[str]) -> int:
    """Run what the folder describes; the exit code says how it ended."""
    if len(arguments) != 1:
        _say("usage: python -m forge.ml.train RUN_FOLDER")
        return REFUSED
    stopping = Stopping()
    stopping.listen()  # before torch is imported, which takes seconds
    try:
        return _run(arguments[0], stopping)
    except KeyboardInterrupt:
        _say("aborted: nothing was saved since the last checkpoint")
        return INTERRUPTED


def _run(folder: str, stopping: Stopping) -> int:
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
    except ForgeError as error:
        _say(f"error: {error}")
        return FAILED
    except Exception:  # noqa: BLE001 - a model may raise anything; the traceback is what its user needs
        traceback.print_exc()
        return FAILED
    finally:
        run.close()
    return STOPPED if stopping.interrupted and run.step < run.total_steps else FINISHED


def _refused(text: str) -> int:
    if os.environ.get("FORGE_DEBUG"):
        traceback.print_exc()
    _say(f"error: {text}")
    return REFUSED


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    code = main(sys.argv[1:])
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    # Threads of libraries may not end by themselves, and everything worth keeping is on disk.
    os._exit(code)
