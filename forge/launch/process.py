"""Start forge's own modules that need torch: a process of the same interpreter on the same terminal, and what is told there."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from types import FrameType

__all__ = ["SAFE", "module_command", "module_environment", "run_command", "run_module", "say", "wait_for"]

SAFE: Final = {"PYTHONSAFEPATH": "1"}
"""What keeps the current folder from being a place to import from, in the environment of every process of a run."""

_HEARD: Final = 1.0  # seconds after which a signal is heard at the latest
_PASSED_ON: Final = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGHUP") if hasattr(signal, name)
)


def module_command(module: str, arguments: Sequence[str] = ()) -> list[str]:
    """The command line that runs a module of forge with this interpreter."""
    return [sys.executable, "-m", module, *arguments]


def module_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment for such a process: this one's, in which the current folder is no place to import from."""
    return {**os.environ, **SAFE, **(extra or {})}


def wait_for(process: subprocess.Popen[Any]) -> int:
    """Wait for a process that has started, and hear signals meanwhile.

    Of two signals that come together another thread may take both, and a wait without an end would go on unheard of them.
    """
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.wait(_HEARD)


def run_module(module: str, arguments: Sequence[str] = (), *, environment: Mapping[str, str] | None = None) -> int:
    """Run a module of forge on this terminal and return its exit code."""
    return run_command(module_command(module, arguments), environment=environment)


def run_command(
    command: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    begun: Callable[[int], None] | None = None,
    own_session: bool = False,
) -> int:
    """Run a command on this terminal until it ends, pass signals on to it, and return its exit code.

    ``begun`` is told the number of the process. One with a session of its own hears nothing of the terminal.
    """
    process = subprocess.Popen(  # noqa: S603 - a list, and no shell
        command, env=module_environment(environment), start_new_session=own_session
    )
    with _signals_to(process):
        if begun is not None:
            begun(process.pid)
        code = wait_for(process)
    return code if code >= 0 else 128 - code


def _kept_away(number: int) -> bool:
    """Whether nobody is to hear of it: so nohup has it with the end of a terminal, which ends nothing then."""
    return number == getattr(signal, "SIGHUP", None) and signal.getsignal(number) is signal.SIG_IGN


@contextlib.contextmanager
def _signals_to(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Leave it to the process what a signal means; a terminal's Ctrl-C reaches it without our help."""

    def pass_on(number: int, _frame: FrameType | None) -> None:
        if number != signal.SIGINT or not sys.stdin.isatty():
            process.send_signal(number)

    try:
        before = {number: signal.signal(number, pass_on) for number in _PASSED_ON if not _kept_away(number)}
    except ValueError:  # only the main thread may set handlers
        before = {}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def say(text: str) -> None:
    """Tell a line to whoever watches the run."""
    with contextlib.suppress(OSError):  # the terminal may be gone
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()
