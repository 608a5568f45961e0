"""How a program that forge starts ends: with an exit code, and tidied up also when a signal or its parent's end comes first."""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import TYPE_CHECKING, Final, NoReturn, final

from forge.base.collector import leave
from forge.base.parent import end_with_parent

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import FrameType

__all__ = ["run_program"]

_ENDING: Final = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)  # not every system has all
# A terminal sends a signal to all its processes, and who started this one may pass it on: both are one request.
_ONE_REQUEST: Final = 0.5
_FAILED: Final = 1
_CLOSED_PIPE: Final = 141


def run_program(main: Callable[[Sequence[str]], int]) -> NoReturn:
    """Run a program with the words of its command line, and end this process with its exit code.

    Ctrl-C, SIGTERM and the end of the terminal leave it as an error would, but without a word: what it has half written is removed, and
    the exit code is the one that a shell gives to such an end. Asked again, it ends at once. A closed pipe is silent, and output that cannot be
    written is an error of one line. The end of the process that has started it is such a request too: nobody waits for this one then.
    """
    asked = _Asked()
    asked.listen()
    end_with_parent(signal.SIGTERM)
    try:
        code = _told(main)
    except BaseException:
        # Also what a library has made of it, such as an import that failed.
        if asked.number is None:
            raise
        code = 128 + asked.number
    finally:
        asked.hear_no_more()
    leave(code)


def _told(main: Callable[[Sequence[str]], int]) -> int:
    """The exit code of the program once all that it says has been said; output that cannot be written is no traceback."""
    try:
        code = main(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:  # whoever was reading has seen enough
        _let_go_of_output()
        return _CLOSED_PIPE
    except OSError as error:
        if os.environ.get("FORGE_DEBUG"):
            raise
        _let_go_of_output()
        sys.stderr.write(f"error: {error}\n")
        return _FAILED
    return code


def _let_go_of_output() -> None:
    """What has not been written is not tried again when the process ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@final
class _Asked:
    """Notes the signal that asks this process to end, and raises KeyboardInterrupt where it is at that moment."""

    def __init__(self) -> None:
        self.number: int | None = None
        self._at = 0.0
        # What is ignored from the start stays so: nohup, and what a script has in its background.
        self._heard = [one for one in _ENDING if signal.getsignal(one) is not signal.SIG_IGN]

    def listen(self) -> None:
        for number in self._heard:
            signal.signal(number, self._on_signal)

    def hear_no_more(self) -> None:
        """Whatever comes now ends the process, which has nothing left to do."""
        for number in self._heard:
            signal.signal(number, signal.SIG_DFL)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if self.number is None:
            self.number, self._at = number, time.monotonic()
            raise KeyboardInterrupt
        if time.monotonic() - self._at > _ONE_REQUEST:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
