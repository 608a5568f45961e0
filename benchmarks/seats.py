"""Contenders of several processes each that are all there at once and take single steps in turn.

A machine that changes its speed from one minute to the next changes it for all of them, and one step is held against the steps beside it.
The benchmark opens a table and starts everybody; each process takes a seat, waits there for its turn and says when it has had it.
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Contender", "Seat", "take_turns"]

_SEAT = "BENCHMARK_SEAT"
_ARRIVAL, _TURN = 180.0, 120.0  # seconds that everybody may take to arrive, and a turn


class Contender(NamedTuple):
    """A command, and how many processes of it take a seat."""

    command: Sequence[str]
    processes: int


class Seat:
    """Where a process waits for its turns."""

    def __init__(self) -> None:
        port, name = os.environ[_SEAT].split(":")
        self._table = socket.create_connection(("127.0.0.1", int(port)))
        self._table.sendall(f"{name}\n".encode())

    def wait(self) -> None:
        """Wait for the next turn, or for the end of all turns."""
        self._table.recv(1)

    def had(self) -> None:
        """Say that the turn is over."""
        self._table.sendall(b".")


def take_turns(
    contenders: Mapping[str, Contender], turns: int, folder: Path, environment: Mapping[str, str]
) -> dict[str, list[float]]:
    """The seconds of each contender's turns, from its word to go until the last of its processes has had it."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    with ExitStack() as table, socket.create_server(("127.0.0.1", 0)) as door:
        running = {}
        for name, contender in contenders.items():
            log = table.enter_context(Path(folder, f"{name}.log").open("wb"))
            more = {_SEAT: f"{door.getsockname()[1]}:{name}"}
            running[name] = table.enter_context(
                subprocess.Popen(contender.command, env={**environment, **more}, stdout=log, stderr=log, cwd=folder)
            )
            table.callback(running[name].terminate)
        seats, missing = _seated(door, contenders, running, table)
        if missing:
            raise RuntimeError("; ".join(f"{name} did not come: {_last_words(folder, name)}" for name in missing))
        for _ in range(turns):
            for name, sitting in seats.items():
                began = time.perf_counter()
                if not _turn(sitting):
                    raise RuntimeError(f"{name} left before its turns were over: {_last_words(folder, name)}")
                seconds[name].append(time.perf_counter() - began)
        for sitting in seats.values():
            for seat in sitting:
                seat.close()
        for process in running.values():
            process.wait(_TURN)
    return seconds


def _seated(
    door: socket.socket,
    contenders: Mapping[str, Contender],
    running: Mapping[str, subprocess.Popen[bytes]],
    table: ExitStack,
) -> tuple[dict[str, list[socket.socket]], list[str]]:
    """The seats of all contenders, and who did not come."""
    seats: dict[str, list[socket.socket]] = {name: [] for name in contenders}
    door.settimeout(1.0)
    latest = time.monotonic() + _ARRIVAL
    while missing := [name for name, one in contenders.items() if len(seats[name]) < one.processes]:
        ended = [name for name in missing if running[name].poll() is not None]
        if ended or time.monotonic() > latest:
            return seats, ended or missing
        try:
            seat = table.enter_context(door.accept()[0])
        except TimeoutError:
            continue
        seat.settimeout(_TURN)
        seats[seat.makefile().readline().strip()].append(seat)
    return seats, []


def _turn(sitting: Sequence[socket.socket]) -> bool:
    """Let all processes of a contender have their turn; whether they had it."""
    try:
        for seat in sitting:
            seat.sendall(b".")
        return all(seat.recv(1) for seat in sitting)
    except ConnectionError:
        return False


def _last_words(folder: Path, name: str) -> str:
    return Path(folder, f"{name}.log").read_text(errors="replace")[-2000:].strip()
