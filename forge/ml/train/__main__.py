"""``python -m forge.ml.train RUN``: one process of a run, from its frozen folder to its exit code."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
import traceback
from enum import IntEnum
from typing import TYPE_CHECKING, Final

from forge.base.collector import collector_paused
from forge.base.errors import FileError, ForgeError
from forge.base.files import write_atomic
from forge.base.json_file import read_json
from forge.base.origin import shown_path
from forge.control.aborting import obeying_abort
from forge.control.heartbeat import HEARTBEATS, own_heart
from forge.control.requests import ENDING_FILE
from forge.ml.kept_memory import choose_kept_memory
from forge.ml.train.stopping import StoppedEarly, Stopping, among_others
from forge.ml.train.unheard import speak_unheard

if TYPE_CHECKING:
    from collections.abc import Sequence

    from forge.ml.train.run import Run

__all__ = ["Ending", "main"]

_LONGEST: Final = 1 << 16
_TOGETHER: Final = 5.0  # seconds in which processes that refuse the same have all done so
_PAUSE: Final = 0.05


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
    stopping.folder = arguments[0]
    stopping.listen()  # before torch is imported, which takes seconds
    before = _last_word(stopping.folder)
    obeying = contextlib.nullcontext()
    if HEARTBEATS not in os.environ:  # what looks after several processes obeys for all of them
        obeying = obeying_abort(arguments[0], lambda: stopping.aborted, kill=True)
    try:
        with obeying:
            code = _run(arguments[0], stopping)
    except KeyboardInterrupt:
        _say("aborted: nothing was saved since the last checkpoint")
        code = Ending.ABORTED
    own_heart().farewell(code)
    if among_others():  # what looks after several processes tells that they were aborted
        return code if code == Ending.ABORTED else _told(arguments[0], code, stopping.reason, before)
    _tell(arguments[0], code, stopping.reason)
    return code


def _tell(folder: str, code: int, reason: str) -> None:
    """Write down how the run ended: whoever waits for its exit code may be gone, or on another machine."""
    with contextlib.suppress(FileError):
        write_atomic(os.path.join(folder, ENDING_FILE), json.dumps({"code": int(code), "reason": reason}) + "\n")


def _told(folder: str, code: int, reason: str, before: object) -> int:
    """Under torchrun, for which anything but 0 is a process that failed: the ending is in a file, and the code says less."""
    if os.environ.get("RANK") != "0":
        ended = code in (Ending.FINISHED, Ending.STOPPED) or (code == Ending.REFUSED and _all_refuse(folder, before))
        return Ending.FINISHED if ended else Ending.FAILED
    _tell(folder, code, reason)
    return Ending.FAILED if code == Ending.FAILED else Ending.FINISHED


def _all_refuse(folder: str, before: object) -> bool:
    """Whether the first process refuses the run as well, and says so: then nobody waits for anybody, and nothing has failed."""
    until = time.monotonic() + _TOGETHER
    while (word := _last_word(folder)) == before and time.monotonic() < until:
        time.sleep(_PAUSE)
    return word != before and word[-1] == Ending.REFUSED


def _last_word(folder: str) -> tuple[int, int, int]:
    """Which ending the first process has told, and its code."""
    path = os.path.join(folder, ENDING_FILE)
    try:
        found = os.stat(path)
        return found.st_ino, found.st_mtime_ns, int(read_json(path, _LONGEST)["code"])
    except (FileError, OSError, ValueError, TypeError, KeyError):
        return 0, 0, -1


def _run(folder: str, stopping: Stopping) -> int:
    with collector_paused():  # modules stay
        from forge.ml.train.finish import finish
        from forge.ml.train.loop import train
        from forge.ml.train.setup import set_up

    try:
        run = set_up(folder, stopping)
    except StoppedEarly as early:
        _say(f"stopped before the first step: {early}")
        return Ending.STOPPED
    except Exception as error:  # noqa: BLE001 - what a config names may raise anything
        return _refused(error)
    try:
        train(run)
        finish(run)
    except ForgeError as error:
        _show(error, str(error))
        # Before the first batch it was a callback that does not fit the config: nothing was begun.
        return Ending.FAILED if run.batch else Ending.REFUSED
    except Exception as error:  # noqa: BLE001 - a model may raise anything; the traceback is what its user needs
        traceback.print_exc()
        own_heart().fail(error)
        return Ending.FAILED
    finally:
        run.close()
    run.world.leave()
    return _ended(run, stopping)


def _ended(run: Run, stopping: Stopping) -> int:
    """Say why a run ended before its last step."""
    if run.step >= run.total_steps or not stopping.reason:
        return Ending.FINISHED
    where = f"after step {run.step} of {run.total_steps}: {stopping.reason}"
    if not stopping.interrupted:
        _say(f"ended {where}")
        return Ending.FINISHED
    _say(f"stopped {where}{_how_to_go_on(run)}")
    return Ending.STOPPED


def _how_to_go_on(run: Run) -> str:
    """By what the run goes on; one that saves nothing by itself has kept its last state in its own folder."""
    if run.saver.path is None:
        return ""
    kept = shown_path(run.saver.path) if run.settings.save_strategy == "no" else "auto"
    return f"; go on with --resume-from-checkpoint {kept}"


def _refused(error: Exception) -> int:
    """A mistake of the user is a message; for anything else the traceback is shown."""
    notes = getattr(error, "__notes__", [])  # where in the config it stands, if it was raised by what that names
    if not notes and not isinstance(error, (ForgeError, ValueError, OSError)):
        traceback.print_exc()
        own_heart().fail(error)
        return Ending.FAILED
    text = str(error) if isinstance(error, (ForgeError, ValueError, OSError)) else f"{type(error).__name__}: {error}"
    _show(error, "\n  ".join([text, *notes[:1]]))
    return Ending.REFUSED


def _show(error: Exception, text: str) -> None:
    if os.environ.get("FORGE_DEBUG"):
        traceback.print_exception(error)
    own_heart().fail(error, text)
    _say(f"error: {text}")


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    choose_kept_memory()
    speak_unheard()
    code = main(sys.argv[1:])
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    # Threads of libraries may not end by themselves, and everything worth keeping is on disk.
    os._exit(code)
