"""Who asks a run through its door: on the machine where the run is, as the same user."""

from __future__ import annotations

import contextlib
import os
import socket
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from forge.base.errors import ForgeError, ToolError
from forge.base.frames import FrameReader, frame
from forge.base.json_file import read_json
from forge.control.door import DOOR_FILE, LONGEST_MESSAGE
from forge.control.door_socket import peer_user
from forge.control.processes import Identity, is_alive
from forge.control.register import this_host

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["Caller", "DoorAnswer", "ask_at_door", "call"]

_LONGEST: Final = 4096
_PORTION: Final = 4096
_AT_ONCE: Final = 3.0  # seconds for what needs no step of the run


class DoorAnswer(NamedTuple):
    """What came of a request at the door: its token, and the answer unless the line broke before."""

    token: str
    answer: dict[str, Any] | None


class Caller:
    """One line to a run."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._reader = FrameReader(LONGEST_MESSAGE)
        self._heard: Iterator[dict[str, Any]] = iter(())

    def close(self) -> None:
        """Hang up."""
        self._end.close()

    def ask(self, do: str, **more: Any) -> dict[str, Any] | None:
        """The first answer to a request, which comes at once; None when the line is broken."""
        try:
            self._end.settimeout(_AT_ONCE)
            self._end.sendall(frame({"do": do, **more}))
        except OSError:
            return None
        return self.hear(_AT_ONCE)

    def hear(self, seconds: float | None = None) -> dict[str, Any] | None:
        """What is said next; None when nothing comes within the seconds, or the run has closed the line."""
        while True:
            try:
                message = next(self._heard, None)
                if message is not None:
                    return message
                self._end.settimeout(seconds)
                data = self._end.recv(_PORTION)
            except (OSError, ValueError, RecursionError):
                return None
            if not data:
                return None
            self._heard = self._reader.feed(data)


def call(run_folder: str) -> Caller | None:
    """A line to the run in this folder; None where nobody listens on this machine, and files have to do."""
    try:
        told: dict[str, Any] = read_json(os.path.join(run_folder, DOOR_FILE), _LONGEST)
        here = told["host"] == this_host() and is_alive(Identity(*told["process"]))
        path = str(told["socket"])
    except (ForgeError, ValueError, TypeError, KeyError, AttributeError):
        return None
    return _reached(path) if here else None


def ask_at_door(run_folder: str, message: Mapping[str, Any]) -> DoorAnswer | None:
    """Ask for what is done after a step, and wait for it; None where there is no door, ToolError when it is refused."""
    caller = call(run_folder)
    if caller is None:
        return None
    with contextlib.closing(caller):
        first = caller.ask(**message)
        if first is None:
            return None
        if "error" in first:
            raise ToolError(str(first["error"]))
        second = caller.hear()
        found = second.get("answer") if second is not None else None
        return DoorAnswer(str(first.get("token", "")), found if isinstance(found, dict) else None)


def _reached(path: str) -> Caller | None:
    end = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        end.settimeout(_AT_ONCE)
        end.connect(path)
        # A run folder that others can write to may name a socket of theirs.
        if os.geteuid() == 0 or peer_user(end) in {os.geteuid(), 0}:
            return Caller(end)
    except OSError:
        pass
    end.close()
    return None
