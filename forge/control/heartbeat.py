"""What each process of a run says of itself while it runs: where it is, and until when it has to have come further.

A rank writes into a mapped file of its machine, which costs less than a microsecond and never waits, and whoever looks after the
node reads it there: also when the rank is stopped, hangs in a loop that lets no other thread run, or is gone.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
import time
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from forge.base.errors import FileError
from forge.base.files import map_new_file, open_append, read_bounded
from forge.control.processes import Identity, identity

if TYPE_CHECKING:
    import mmap

__all__ = ["FAILED_THREAD", "HEARTBEATS", "Beat", "Heart", "own_heart", "read_beats", "stack_file"]

HEARTBEATS: Final = "FORGE_HEARTBEATS"
"""The variable that names the folder of a node's heartbeats."""
FAILED_THREAD: Final = "Failed thread"
"""What stands before the stack of an error, among those that `faulthandler` writes."""
_ENDING: Final = ".beat"
_STATE: Final = struct.Struct("<qqdd?h64s")  # step, marks, since, until, guilty, code, phase
_STATE_AT: Final = 1024
_WORDS_AT: Final = 2048
_SIZE: Final = 4096
_PHASE: Final = 64
_RUNS: Final = -1  # in the place of an exit code
_PATIENCE: Final = 3600.0  # until the run's own settings are known
_LOOKS: Final = 5


class Beat(NamedTuple):
    """What a rank has last said; times are those of the machine's monotonic clock."""

    rank: int
    size: int
    node: int
    nodes: int
    host: str
    process: Identity
    attempt: int
    attempts: int
    step: int
    marks: int
    since: float
    until: float
    guilty: bool
    code: int | None
    phase: str
    words: str

    @property
    def place(self) -> tuple[int, int]:
        """How far the rank has come: what is greater is further."""
        return self.step, self.marks


class Heart:
    """This process's part: it says what it does, and nobody has to listen."""

    def __init__(self, memory: bytearray | mmap.mmap | None = None, stacks: str | None = None) -> None:
        self._memory = bytearray(_SIZE) if memory is None else memory
        self._stacks = stacks
        self.patience = _PATIENCE
        self._step = 0
        self._marks = 0
        self._guilty = False
        self._code = _RUNS
        self._phase = b""
        self.mark("starting")

    def mark(self, phase: str, step: int | None = None) -> None:
        """Something new begins, and may take as long as the patience is; ``step`` is the number of finished steps."""
        self._phase = phase.encode()[:_PHASE]
        self._step = self._step if step is None else step
        self._marks += 1
        self._write()

    def say(self, words: str) -> None:
        """Why this process is about to end."""
        told = words.strip().encode()[: _SIZE - _WORDS_AT]
        self._memory[_WORDS_AT : _WORDS_AT + len(told)] = told

    def fail(self, error: BaseException, text: str = "") -> None:
        """An error ends this process: what it is, and where it was raised."""
        self.say(text or f"{type(error).__name__}: {error}")
        if self._stacks is None:
            return
        trace = error.__traceback__
        frames: list[str] = []
        while trace is not None:
            code = trace.tb_frame.f_code
            frames.append(f'  File "{code.co_filename}", line {trace.tb_lineno} in {code.co_name}\n')
            trace = trace.tb_next
        with contextlib.suppress(FileError, OSError), open_append(self._stacks) as file:
            file.write("".join([f"{FAILED_THREAD} 0x0 (most recent call first):\n", *reversed(frames), "\n"]))

    def blame(self) -> None:
        """It is this process that something is wrong with, whatever the others say."""
        self._guilty = True
        self._write()

    def farewell(self, code: int) -> None:
        """This process ends by itself, and so."""
        self._code = code
        self._write()

    def _write(self) -> None:
        now = time.monotonic()
        until = now + self.patience
        state = _STATE.pack(self._step, self._marks, now, until, self._guilty, self._code, self._phase)
        self._memory[_STATE_AT : _STATE_AT + _STATE.size] = state


@lru_cache(maxsize=1)
def own_heart() -> Heart:
    """The heart of this process, in the folder that its surroundings name; without one, nobody hears it."""
    folder = os.environ.get(HEARTBEATS)
    who = identity(os.getpid()) if folder else None
    if not folder or who is None:
        return Heart()
    head = json.dumps({"host": socket.gethostname(), "process": who, **_numbers()}).encode()
    try:
        memory = map_new_file(os.path.join(folder, f"rank-{_number('RANK', 0)}{_ENDING}"), _SIZE, head)
    except FileError:
        return Heart()  # a disk that is full ends no run
    return Heart(memory, stack_file(folder, _number("RANK", 0)))


def stack_file(folder: str, rank: int) -> str:
    """The file that a rank writes its stacks to."""
    return os.path.join(folder, f"rank-{rank}.stack")


def read_beats(folder: str) -> list[Beat]:
    """What the ranks of this node have said, by their numbers."""
    found = [_read(os.path.join(folder, name)) for name in os.listdir(folder) if name.endswith(_ENDING)]
    return sorted((beat for beat in found if beat is not None), key=lambda beat: beat.rank)


def _numbers() -> dict[str, int]:
    return {
        "rank": _number("RANK", 0),
        "size": _number("WORLD_SIZE", 1),
        "node": _number("GROUP_RANK", 0),
        "nodes": _number("GROUP_WORLD_SIZE", 1),
        "attempt": _number("TORCHELASTIC_RESTART_COUNT", 0),
        "attempts": _number("TORCHELASTIC_MAX_RESTARTS", 0),
    }


def _number(name: str, default: int) -> int:
    text = os.environ.get(name, "")
    return int(text) if text.isdecimal() else default


def _read(path: str) -> Beat | None:
    """One file; None when it is not whole yet."""
    try:
        data = _steady(path)
        head = json.loads(data[:_STATE_AT].rstrip(b"\0"))
        step, marks, since, until, guilty, code, phase = _STATE.unpack_from(data, _STATE_AT)
        if not until:
            return None  # its process has made the file, and said nothing yet
        return Beat(
            **{**head, "process": Identity(*head["process"])},
            step=step,
            marks=marks,
            since=since,
            until=until,
            guilty=guilty,
            code=None if code == _RUNS else code,
            phase=_text(phase),
            words=_text(data[_WORDS_AT:]),
        )
    except (FileError, ValueError, TypeError, struct.error):
        return None


def _steady(path: str) -> bytes:
    """The bytes of a file that is not being written to at the moment."""
    data = read_bounded(path, _SIZE)
    for _ in range(_LOOKS):
        again = read_bounded(path, _SIZE)
        if again == data:
            break
        data = again
    return data


def _text(data: bytes) -> str:
    return data.rstrip(b"\0").decode("utf-8", "ignore")
