"""The doctor's hand on another host, as it is reached by ssh; it ends when the connection does."""

from __future__ import annotations

import contextlib
import json
import queue
import shlex
import subprocess
import threading
import time
from typing import TYPE_CHECKING, Any, Final

from forge.base.errors import ToolError
from forge.doctor.agent import MARK
from forge.launch.hosts import SSH

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import IO

__all__ = ["RemoteHand", "hand_command"]

_MODULE: Final = "forge.doctor.agent"
_KEPT: Final = 20  # lines of what it says besides
_GRACE: Final = 5.0
_LONGEST: Final = 1 << 20
_UNREACHED: Final = 255  # ssh's own exit code


def hand_command(host: str, python: str, folder: str) -> list[str]:
    """What starts a hand on a host, in a folder that is the same there."""
    words = ["env", "PYTHONSAFEPATH=1", python, "-m", _MODULE]
    return [*SSH, host, f"cd {shlex.quote(folder)} && exec {shlex.join(words)}"]


class RemoteHand:
    """A hand that has been started; `ask` gives its answers."""

    def __init__(self, host: str, command: Sequence[str]) -> None:
        self.host = host
        self._process = subprocess.Popen(  # noqa: S603 - a list, and no shell here
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        )
        self._asked = 0
        self._expected = [0]  # the numbers of the answers to come: its greeting has the first
        self._answers: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._errors: list[str] = []
        pairs = ((self._hear, self._process.stdout), (self._note, self._process.stderr))
        self._threads = [threading.Thread(target=listen, args=(stream,), daemon=True) for listen, stream in pairs]
        for thread in self._threads:
            thread.start()

    def ask(self, **question: Any) -> None:
        """Ask something; `take` gives the answer, so that several hosts can be asked at once."""
        self._asked += 1
        self._expected.append(self._asked)
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):  # who is gone does not answer, which is said then
                self._process.stdin.write(json.dumps({**question, "number": self._asked}) + "\n")
                self._process.stdin.flush()

    def take(self, patience: float) -> dict[str, Any]:
        """The answer to the earliest question that has not been taken; ToolError says why there is none."""
        number = self._expected.pop(0)
        end = time.monotonic() + patience
        while True:
            try:
                answer = self._answers.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                raise ToolError(f"{self.host} gave no answer within {patience:.0f} seconds") from None
            if answer is None:
                self._answers.put(None)  # it stays so
                raise ToolError(self._why_gone(), hint=self._what_to_do())
            # One that comes too late is not taken for that to another question.
            if answer.get("number") == number:
                return answer

    def close(self) -> None:
        """Let go of the hand; it ends by itself."""
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        try:
            self._process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for thread in self._threads:
            thread.join(_GRACE)
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()

    def _hear(self, stream: IO[str]) -> None:
        while line := stream.readline(_LONGEST):
            if line.startswith(MARK):
                with contextlib.suppress(ValueError):
                    found = json.loads(line.removeprefix(MARK))
                    self._answers.put(found if isinstance(found, dict) else {})
        self._answers.put(None)

    def _note(self, stream: IO[str]) -> None:
        while line := stream.readline(_LONGEST):
            self._errors = [*self._errors, line.strip()][-_KEPT:]

    def _why_gone(self) -> str:
        """What was said last, and how it ended."""
        code = self._ended()
        said = next((line for line in reversed(self._errors) if line), "")
        if code == _UNREACHED:
            return f"ssh does not reach {self.host}: {said or 'it says nothing'}"
        return f"forge does not run on {self.host}: {said or f'it ended with {code}'}"

    def _what_to_do(self) -> str:
        if self._ended() == _UNREACHED:
            return f"`ssh {self.host} true` has to work without a password"
        return "the same Python and the same folder have to be there: --python, and a filesystem that all share"

    def _ended(self) -> int | None:
        end = time.monotonic() + _GRACE
        while self._process.poll() is None and time.monotonic() < end:
            time.sleep(0.01)
        for thread in self._threads:  # what it said last may be read later than that it has ended
            thread.join(max(0.0, end - time.monotonic()))
        return self._process.returncode
