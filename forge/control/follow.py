"""Reads the console log of a job while the job writes it."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["follow_log", "last_lines"]

_PORTION: Final = 64 << 10
_PAUSE: Final = 0.2


def last_lines(path: str, number: int | None) -> tuple[list[str], int]:
    """The last lines of a file, all with None, and the place behind them, from which `follow_log` goes on."""
    data = b""
    with open(path, "rb") as file:
        end = start = file.seek(0, os.SEEK_END)
        while start > 0 and (number is None or data.count(b"\n") <= number):
            length = min(_PORTION, start)
            start = file.seek(start - length)
            data = file.read(length) + data
    whole = data[: data.rfind(b"\n") + 1]
    lines = whole.split(b"\n")[:-1]
    kept = lines if number is None else lines[len(lines) - min(number, len(lines)) :]
    return list(map(_shown, kept)), end - len(data) + len(whole)


def follow_log(path: str, place: int, over: Callable[[], bool], pause: float = _PAUSE) -> Iterator[str | None]:
    """The lines behind a place as they come, and None whenever there are none for now; it ends with the job."""
    rest = b""
    with open(path, "rb") as file:
        file.seek(place)
        while True:
            ending = over()  # asked before reading, so that nothing written until then is missed
            while data := file.read(_PORTION):
                *lines, rest = (rest + data).split(b"\n")
                yield from map(_shown, lines)
            if ending:
                break
            yield None
            time.sleep(pause)
    if rest:
        yield _shown(rest)


def _shown(line: bytes) -> str:
    """A line as a terminal shows it: what a progress bar has painted over is gone."""
    return line.decode("utf-8", "replace").rstrip("\r\n").rpartition("\r")[2]
