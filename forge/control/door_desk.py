"""What is done at the door of a run: each request there becomes the request that a file is, and its answer is read for who asked."""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING, Any, Final

from forge.base.errors import FileError
from forge.control.heartbeat import HEARTBEATS, read_beats
from forge.control.progress import progress_of
from forge.control.register import this_host
from forge.control.requests import (
    ABORT_FILE,
    SAVE_FILE,
    STOP_FILE,
    ask_to_abort,
    ask_to_save,
    ask_to_stop,
    save_answer,
)
from forge.control.settings import SET_FILE, ask_to_set, problem_of_setting, set_answer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import TypeAlias

    DoorAnswers: TypeAlias = Iterator[Mapping[str, Any] | None]

__all__ = ["DoorDesk"]

_NEWS: Final = 0.5  # seconds between two messages to who watches, at least
_FRESH: Final = 0.1  # seconds for which a status is the same
_LOCKED: Final = 10.0  # seconds that others may be about to ask
_REQUESTS: Final = (STOP_FILE, ABORT_FILE, SAVE_FILE, SET_FILE)


class DoorDesk:
    """Does what guests ask for. A task gives messages to be sent, and None as long as there is nothing to say."""

    def __init__(self, run_folder: str) -> None:
        self._folder = run_folder
        self._status: tuple[float, dict[str, Any]] = (0.0, {})

    def task(self, message: Mapping[str, Any]) -> DoorAnswers:
        """What is done for a message; it is asked again and again until it has an end."""
        tasks: dict[str, Callable[[Mapping[str, Any]], DoorAnswers]] = {
            "status": self._tell_status,
            "watch": self._tell_news,
            "save": self._save,
            "set": self._set,
            "stop": self._stop,
            "abort": self._abort,
        }
        what = str(message.get("do"))
        if what not in tasks:
            return iter([{"error": f"{what[:40]!r} is not known here: {', '.join(tasks)} are"}])
        return tasks[what](message)

    def _tell_status(self, _: Mapping[str, Any]) -> DoorAnswers:
        yield {"status": self._status_now()}

    def _tell_news(self, _: Mapping[str, Any]) -> DoorAnswers:
        told: dict[str, Any] = {}
        again = 0.0
        while True:
            now = self._status_now()
            if time.monotonic() >= again and now != told:
                told, again = now, time.monotonic() + _NEWS
                yield {"status": now}
            else:
                yield None

    def _save(self, _: Mapping[str, Any]) -> DoorAnswers:
        yield from self._answered(lambda: ask_to_save(self._folder, patience=0.0), save_answer)

    def _set(self, message: Mapping[str, Any]) -> DoorAnswers:
        values = message.get("values")
        if not isinstance(values, dict) or not values:
            yield {"error": "set needs values: a number for each name"}
            return
        problem = next(filter(None, (problem_of_setting(name, value) for name, value in values.items())), "")
        if problem:
            yield {"error": problem}
            return
        yield from self._answered(lambda: ask_to_set(self._folder, values, patience=0.0), set_answer)

    def _answered(self, ask: Callable[[], str], look: Callable[[str, str], Any]) -> DoorAnswers:
        until = time.monotonic() + _LOCKED
        while True:
            try:
                token = ask()
                break
            except FileError:  # somebody else asks just now
                if time.monotonic() > until:
                    raise
                yield None
        yield {"token": token}
        while (answer := look(self._folder, token)) is None:
            yield None
        yield {"answer": answer._asdict()}

    def _stop(self, _: Mapping[str, Any]) -> DoorAnswers:
        ask_to_stop(self._folder)
        yield {"asked": "stop"}

    def _abort(self, _: Mapping[str, Any]) -> DoorAnswers:
        ask_to_abort(self._folder)
        yield {"asked": "abort"}

    def _status_now(self) -> dict[str, Any]:
        made, status = self._status
        if time.monotonic() > made + _FRESH:
            status = _status_of(self._folder)
            self._status = (time.monotonic(), status)
        return status


def _status_of(run_folder: str) -> dict[str, Any]:
    beats = []
    with contextlib.suppress(OSError):
        folder = os.environ.get(HEARTBEATS)
        beats = read_beats(folder) if folder else []
    return {
        "run": run_folder,
        "host": this_host(),
        "pid": os.getpid(),
        **progress_of(run_folder)._asdict(),
        "ranks": [{"rank": beat.rank, "step": beat.step, "phase": beat.phase} for beat in beats],
        "waiting": [name for name in _REQUESTS if os.path.exists(os.path.join(run_folder, name))],
    }
