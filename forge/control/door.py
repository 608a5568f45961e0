"""The door of a run: a socket on its machine, through which programs of the same user ask what files in the run folder ask.

It is one protocol with those files: who asks through the door gets the same request written, and its answer read, for him. A message
is a JSON object behind its length. ``{"do": "status"}`` is answered by ``{"status": {...}}``; ``save`` and ``set`` (with
``values``) by ``{"token": ...}`` at once and by ``{"answer": {...}}`` when it is done; ``stop`` and ``abort`` by ``{"asked": ...}``; ``watch`` by a
status whenever there is something new. What cannot be is answered by ``{"error": ...}``.

Only the user of the run and root may come in. Guests that never read, never finish a message or ask without end are sent away, and
all of them together take at most a tenth of a processor from the training.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import socket
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from forge.base.errors import FileError
from forge.base.files import remove_file, write_atomic
from forge.base.frames import FrameReader, frame
from forge.control.door_desk import DoorDesk
from forge.control.door_socket import listening_socket, peer_user
from forge.control.processes import identity
from forge.control.register import this_host

if TYPE_CHECKING:
    from collections.abc import Mapping

    from forge.control.door_desk import DoorAnswers

__all__ = ["DOOR_FILE", "LONGEST_MESSAGE", "Door"]

DOOR_FILE: Final = "door.json"
"""Says in the run folder where its door is."""
LONGEST_MESSAGE: Final = 64 << 10
_GUESTS: Final = 64
_QUEUE: Final = 16  # messages of one guest that wait for those before them
_PORTION: Final = 4096
_TICK: Final = 0.05  # seconds between two looks for an answer
_LEAVES: Final = 10.0  # seconds for the thread to come to its end
_IDLE: Final = 30.0  # seconds after which who neither asks nor reads is sent away
_SHARE: Final = 9  # for each second of work so many of rest


class _Guest:
    """One connection: what came, what is to be said, and what is being done for it."""

    def __init__(self, end: socket.socket) -> None:
        self.end = end
        self.reader = FrameReader(LONGEST_MESSAGE)
        self.asked: deque[Mapping[str, Any]] = deque()
        self.out = bytearray()
        self.task: DoorAnswers | None = None
        self.moved = time.monotonic()

    @property
    def idle(self) -> bool:
        """Whether it has let a long time pass in which it was its turn."""
        return (self.task is None or bool(self.out)) and time.monotonic() > self.moved + _IDLE


class Door:
    """Listens in a thread of its own from `open` until `close`."""

    def __init__(self, run_folder: str) -> None:
        self._folder = os.path.abspath(run_folder)
        self._path = ""
        self._listener: socket.socket | None = None
        self._guests: dict[socket.socket, _Guest] = {}
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="forge-door", daemon=True)
        self._desk = DoorDesk(self._folder)
        self.worked = 0.0
        """Seconds of processor time that the guests have taken."""

    def open(self) -> None:
        """Begin to listen, and say where in the run folder; FileError when there is no place for a socket."""
        self._path, listener = listening_socket()
        where = {"host": this_host(), "socket": self._path, "process": identity(os.getpid())}
        try:
            write_atomic(os.path.join(self._folder, DOOR_FILE), json.dumps(where), durable=False)
        except FileError:
            listener.close()
            remove_file(self._path)
            raise
        self._wake, self._woken = socket.socketpair()
        self._selector = selectors.DefaultSelector()
        self._listener = listener
        for one in (self._listener, self._woken):
            one.setblocking(False)
            self._selector.register(one, selectors.EVENT_READ)
        _OPEN.add(self)
        self._thread.start()

    def close(self) -> None:
        """Answer what can be answered, and let nobody in any more."""
        if self._listener is None or self._closing.is_set():
            return
        self._closing.set()
        self._wake.send(b"x")
        self._thread.join(_LEAVES)
        if self._thread.is_alive():
            return  # a file server that hangs does not keep the run from ending
        with contextlib.suppress(FileError):
            remove_file(os.path.join(self._folder, DOOR_FILE))
        with contextlib.suppress(FileError):
            remove_file(self._path)
        self.forget()

    def forget(self) -> None:
        """Let go of every connection, and say nothing to anybody: a forked process has them, too."""
        _OPEN.discard(self)
        ends = [*self._guests, *filter(None, (self._listener, self._wake, self._woken))]
        for end in ends:
            end.close()
        self._guests.clear()
        self._selector.close()

    # ---- the thread

    def _serve(self) -> None:
        while not self._closing.is_set():
            ready = self._selector.select(self._pause())
            began = time.thread_time()
            for key, events in ready:
                self._attend(key.fileobj, events)
            self._go_on()
            spent = time.thread_time() - began
            self.worked += spent
            self._closing.wait(min(spent * _SHARE, 1.0))
        self._go_on()  # the last thing that the run did may be an answer

    def _pause(self) -> float:
        guests = self._guests.values()
        if any(guest.task is None and guest.asked for guest in guests):
            return 0.0
        return _TICK if any(guest.task is not None for guest in guests) else _IDLE / 3

    def _attend(self, end: Any, events: int) -> None:
        if end is self._listener:
            self._let_in()
        elif (guest := self._guests.get(end)) is not None:
            if events & selectors.EVENT_WRITE:
                self._send(guest)
            if events & selectors.EVENT_READ:
                self._hear(guest)

    def _let_in(self) -> None:
        try:
            end, _ = self._listener.accept()  # type: ignore[union-attr]
        except OSError:
            return
        if peer_user(end) not in {os.geteuid(), 0} or not self._has_room():
            end.close()
            return
        end.setblocking(False)
        self._guests[end] = _Guest(end)
        self._selector.register(end, selectors.EVENT_READ)

    def _has_room(self) -> bool:
        """Whether one more may come in; who has asked for nothing makes room for him."""
        idle = [guest for guest in self._guests.values() if guest.task is None]
        if len(self._guests) >= _GUESTS and idle:
            self._send_away(min(idle, key=lambda guest: guest.moved))
        return len(self._guests) < _GUESTS

    def _hear(self, guest: _Guest) -> None:
        try:
            data = guest.end.recv(_PORTION)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        try:
            for message in guest.reader.feed(data):
                guest.asked.append(message)
                guest.moved = time.monotonic()
        except (ValueError, RecursionError):
            data = b""  # what comes after bytes that are no message cannot be one
        if not data or len(guest.asked) > _QUEUE:
            self._send_away(guest)

    def _go_on(self) -> None:
        """Do for every guest what can be done now."""
        for guest in list(self._guests.values()):
            if guest.task is None and guest.asked:
                guest.task = self._desk.task(guest.asked.popleft())
            if guest.task is not None and not guest.out:
                self._advance(guest)
            if guest.idle:
                self._send_away(guest)

    def _advance(self, guest: _Guest) -> None:
        try:
            said = next(guest.task, {})  # type: ignore[arg-type]
        except Exception as error:  # noqa: BLE001 - what goes wrong for one guest is nothing to the run
            guest.task, said = None, {"error": str(error) or type(error).__name__}
        if said == {}:
            guest.task = None
        elif said is not None:
            guest.out += frame(said)
            guest.moved = time.monotonic()
            self._send(guest)

    def _send(self, guest: _Guest) -> None:
        try:
            sent = guest.end.send(guest.out)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._send_away(guest)
            return
        if sent:
            del guest.out[:sent]
            guest.moved = time.monotonic()
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if guest.out else 0)
        self._selector.modify(guest.end, wanted)

    def _send_away(self, guest: _Guest) -> None:
        if self._guests.pop(guest.end, None) is not None:
            self._selector.unregister(guest.end)
            guest.end.close()


def _forget_all() -> None:
    for door in tuple(_OPEN):
        door.forget()


# A forked child would keep the socket open, at which nobody listens when this process is gone.
_OPEN: Final[set[Door]] = set()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)
