"""A process that answers requests: `forge.ml.workbench`, started, asked, interrupted and ended.

It has torch, this process does not. It is in a session of its own, so that a Ctrl-C in the terminal reaches it only through
`Worker.ask`, and it ends by itself when this process is gone, because its input ends.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections import deque
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any, Final, Protocol

from forge.base.errors import ToolError
from forge.base.frames import FrameReader, frame
from forge.launch.process import module_command, module_environment

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["Answer", "Listener", "Request", "Worker"]

_MODULE: Final = "forge.ml.workbench"
_PATIENCE: Final = 5.0  # seconds that an interrupted request has to end by itself
# A Ctrl-C that the system hands to another thread of this process does not end the wait of this one.
_LOOK: Final = 0.5
_AT_ONCE: Final = 1 << 16
_KEPT: Final = 20


class Listener(Protocol):
    """Hears what a request tells while it runs."""

    def note(self, text: str) -> None:
        """Take a line that stays."""

    def progress(self, text: str) -> None:
        """Take a line that the next one replaces."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked for: an action with its arguments, done in a folder."""

    action: str
    arguments: Mapping[str, Any]
    folder: str
    debug: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a request: an exit code, the result, what objects printed to standard output, and what went wrong."""

    code: int
    text: str = ""
    printed: str = ""
    error: str = ""


@dataclass(slots=True)
class _Said:
    """What the process writes to its standard error, as lines."""

    open: bool = True
    unfinished: bytes = b""
    last: deque[str] = field(default_factory=lambda: deque(maxlen=_KEPT))

    def take(self, data: bytes, listener: Listener) -> None:
        *lines, self.unfinished = (self.unfinished + data).split(b"\n")
        for line in lines:
            self._line(line, listener)

    def finish(self, listener: Listener) -> None:
        rest, self.unfinished = self.unfinished, b""
        if rest:
            self._line(rest, listener)

    def _line(self, line: bytes, listener: Listener) -> None:
        # Of a progress bar that was drawn over and over, the last state.
        text = line.decode(errors="replace").rstrip("\r").rpartition("\r")[2]
        self.last.append(text)
        listener.note(text)


class Worker:
    """One process of the workbench; `ask` it as often as `alive` says that it can be asked."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - a list, and no shell
            module_command(_MODULE),
            env=module_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
        )
        self._reader = FrameReader()
        self._said = _Said()
        self._number = 0

    @property
    def pid(self) -> int:
        """The process id, for people who look at it from outside."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the process is there."""
        return self._process.poll() is None

    def ask(self, request: Request, listener: Listener) -> Answer:
        """Wait for the answer; ToolError when the process ends before it.

        Ctrl-C ends the request and is raised again; where it does not end within seconds, or at the second Ctrl-C, the process is
        killed.
        """
        self._number += 1
        message = {
            "number": self._number,
            "action": request.action,
            "arguments": dict(request.arguments),
            "folder": request.folder,
            "debug": request.debug,
        }
        try:
            self._send(message)
            return self._answer(listener)
        except KeyboardInterrupt:
            self._interrupt(listener)
            raise
        except ValueError as error:
            self.kill()
            raise ToolError(f"the workbench sends what is no answer: {error}") from error

    def close(self) -> None:
        """Let the process end, which it does when nothing more can come, and kill it when it does not."""
        stdin, _, _ = self._pipes
        stdin.close()
        try:
            self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self.kill()
        self._close_pipes()

    def kill(self) -> None:
        """End the process, and all that it has started, at once."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)  # it leads a group of its own
        self._process.wait()
        self._close_pipes()

    @property
    def _pipes(self) -> tuple[IO[bytes], IO[bytes], IO[bytes]]:
        stdin, stdout, stderr = self._process.stdin, self._process.stdout, self._process.stderr
        if stdin is None or stdout is None or stderr is None:
            raise AssertionError("the process was started with pipes")
        return stdin, stdout, stderr

    def _close_pipes(self) -> None:
        for pipe in self._pipes:
            pipe.close()

    def _send(self, message: Mapping[str, Any]) -> None:
        try:
            data = memoryview(frame(message))
            while data:
                data = data[os.write(self._pipes[0].fileno(), data) :]
        except BrokenPipeError:
            pass  # that it has ended shows when it is read from

    def _answer(self, listener: Listener, until: float | None = None) -> Answer:
        for message in self._messages(listener, until):
            if message.get("number") != self._number:
                raise ValueError(f"it is about request {message.get('number')!r}")
            if "progress" in message:
                listener.progress(str(message["progress"]))
                continue
            listener.progress("")
            # What was printed before the answer was sent is in the pipe already.
            self._hear_rest(listener)
            if message.get("last"):
                self.close()
            try:
                return Answer(**{name: message[name] for name in ("code", "text", "printed", "error")})
            except KeyError as error:
                raise ValueError(f"it has no {error}") from error
        raise self._died(listener)

    def _messages(self, listener: Listener, until: float | None) -> Iterator[dict[str, Any]]:
        """What the process sends, until it ends; what it prints meanwhile is passed on."""
        _, stdout, stderr = self._pipes
        with selectors.DefaultSelector() as selector:
            selector.register(stdout, selectors.EVENT_READ)
            if self._said.open:
                selector.register(stderr, selectors.EVENT_READ)
            while True:
                left = None if until is None else until - time.monotonic()
                if left is not None and left <= 0:
                    raise TimeoutError
                for key, _ in selector.select(_LOOK if left is None else min(left, _LOOK)):
                    data = os.read(key.fd, _AT_ONCE)
                    if key.fileobj is stdout:
                        if not data:
                            return
                        yield from self._reader.feed(data)
                    elif data:
                        self._said.take(data, listener)
                    else:
                        self._said.open = False
                        selector.unregister(stderr)

    def _hear_rest(self, listener: Listener) -> None:
        """Pass on what is left in the pipe of standard error."""
        stderr = self._pipes[2]
        with selectors.DefaultSelector() as selector:
            selector.register(stderr, selectors.EVENT_READ)
            while self._said.open and selector.select(0):
                data = os.read(stderr.fileno(), _AT_ONCE)
                self._said.open = bool(data)
                self._said.take(data, listener)
        self._said.finish(listener)

    def _interrupt(self, listener: Listener) -> None:
        listener.progress("")
        listener.note("stopping it; Ctrl-C again ends it at once")
        try:
            self._send({"interrupt": self._number})
            self._answer(listener, time.monotonic() + _PATIENCE)
        except (KeyboardInterrupt, TimeoutError, ToolError, ValueError):
            self.kill()

    def _died(self, listener: Listener) -> ToolError:
        """What to say of a process that has ended without an answer."""
        listener.progress("")
        try:
            code = self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            code = None
        self._hear_rest(listener)
        self.kill()
        last = next((line.strip() for line in reversed(self._said.last) if line.strip()), "")
        return ToolError(f"the workbench {_ending(code)} before it had an answer", hint=_reason(code) or last or None)


def _ending(code: int | None) -> str:
    if code is None:
        return "closed its output"
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"


def _reason(code: int | None) -> str:
    return "the system kills like this when memory runs out" if code == -signal.SIGKILL else ""
