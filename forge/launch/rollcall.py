"""The roll call of a run on several nodes: before anything expensive starts, every node is there, and all are alike.

The node that hosts the rendezvous listens at its port until the others have come. Each says who it is and what it runs; each is
shown a token that has to be in its run folder too. Who is missing, or is not like the rest, is named within a minute, where the
processes themselves would wait for each other, and say nothing. Then the port is given to torchrun.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import time
import uuid
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from forge.base.errors import ToolError
from forge.base.files import read_bounded, remove_file, write_atomic
from forge.base.origin import shown_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from forge.launch.address import Endpoint

__all__ = ["ROLL_PATIENCE", "Attendee", "RollCall", "answer_roll", "ask_for_run", "call_roll", "this_node"]

ROLL_PATIENCE: Final = 60.0
"""Seconds in which all nodes have to come."""
_MOST: Final = 1 << 16
_GRAPH: Final = "graph.json"
_LARGEST: Final = 256 << 20
_PROOF: Final = ".roll-call"  # in the run folder, while the roll is called
_REPLY: Final = 10.0  # seconds for one message of somebody who is there
_SEES: Final = 5.0  # seconds until a file that was just written is seen on every node
_PAUSE: Final = 0.2
_CLOCKS: Final = 60.0
_PACKAGES: Final = ("forge", "torch", "transformers", "nvidia-nccl-cu12", "nvidia-nccl-cu13")


@dataclass(frozen=True)
class RollCall:
    """A run that nodes come together for: where, how many, its id, and its folder."""

    endpoint: Endpoint
    nodes: int
    id: str
    folder: str
    patience: float = ROLL_PATIENCE


@dataclass(frozen=True)
class Attendee:
    """A node: its name, the address it speaks from, and what it runs."""

    name: str
    runs: dict[str, str]
    clock: float
    address: str = ""

    def __str__(self) -> str:
        """For a person."""
        return f"{self.name} ({self.address})" if self.address else self.name


def this_node(run_folder: str) -> Attendee:
    """This machine, as it takes part in a run."""
    from importlib.metadata import PackageNotFoundError, version  # only for several nodes

    runs = {}
    for package in _PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            runs[package] = version(package)
    path = os.path.join(run_folder, _GRAPH)
    if os.path.exists(path):
        runs["frozen config"] = hashlib.sha256(read_bounded(path, _LARGEST)).hexdigest()[:12]
    return Attendee(socket.gethostname(), runs, time.time())


def call_roll(call: RollCall, say: Callable[[str], None]) -> list[Attendee]:
    """Wait for the other nodes, as the host; all that are there. ToolError says who is missing, or does not fit."""
    own = this_node(call.folder)
    token = uuid.uuid4().hex
    path = os.path.join(call.folder, _PROOF)
    write_atomic(path, token)
    here: list[tuple[Attendee, _Line]] = []
    try:
        with _listening(call.endpoint) as listener:
            for line in _callers(listener, call.patience):
                guest = _welcome(line, call, own, token)
                if guest is not None:
                    here.append((guest, line))
                    say(f"{len(here) + 1} of {call.nodes} nodes are here: {guest} came")
                if len(here) == call.nodes - 1:
                    break
            else:
                raise _missing(call, [own, *(guest for guest, _ in here)])
        for _, line in here:
            line.send({"go": True})
    except ToolError as error:
        for _, line in here:
            line.send({"error": error.what})
        raise
    finally:
        for _, line in here:
            line.close()
        remove_file(path)
    return [own, *(guest for guest, _ in here)]


def answer_roll(call: RollCall) -> None:
    """Come to the roll call of the host, and wait until all are there; ToolError when it comes to nothing."""
    line = _connect(call)
    try:
        line.send({"id": call.id, "node": asdict(this_node(call.folder))})
        answer = line.take()
        if "token" in answer:
            line.send({"sees": _sees(call.folder, str(answer["token"]))})
            line.wait(call.patience + _REPLY)
            answer = line.take()
    finally:
        line.close()
    if not answer.get("go"):
        raise ToolError(str(answer.get("error") or f"what answers at {call.endpoint} is no run of forge"))


def ask_for_run(call: RollCall) -> str:
    """The name of the run's folder on the host; ToolError when nobody answers."""
    line = _connect(call)
    try:
        line.send({"id": call.id, "ask": "run"})
        answer = line.take()
    finally:
        line.close()
    if not isinstance(answer.get("run"), str) or not answer["run"]:
        raise ToolError(str(answer.get("error") or f"what answers at {call.endpoint} is no run of forge"))
    return os.path.basename(str(answer["run"]))


def _welcome(line: _Line, call: RollCall, own: Attendee, token: str) -> Attendee | None:
    """One who calls: a node of this run, or None for everybody else."""
    try:
        said = line.take()
        if said.get("id") != call.id:
            line.send({"error": f"the run at {call.endpoint} has the id {call.id!r}, not {said.get('id')!r}"})
            line.close()
            return None
        if "node" not in said:
            line.send({"run": os.path.basename(os.path.normpath(call.folder))})
            line.close()
            return None
        guest = Attendee(**{**said["node"], "address": line.address})
        line.send({"token": token})
        sees = line.take().get("sees")
    except (OSError, ValueError, TypeError, ToolError):
        line.close()
        return None
    problem = _unlike(own, guest) if sees else _not_shared(call.folder, guest)
    if problem is not None:
        line.send({"error": problem.what})
        line.close()
        raise problem
    return guest


def _unlike(own: Attendee, guest: Attendee) -> ToolError | None:
    for name in dict.fromkeys([*own.runs, *guest.runs]):
        ours, theirs = own.runs.get(name, "none"), guest.runs.get(name, "none")
        if ours != theirs:
            return ToolError(
                f"{name} is {ours} on {own} and {theirs} on {guest}: all nodes have to run the same",
                hint="use one environment, or one container image, on all nodes",
            )
    if abs(own.clock - guest.clock) > _CLOCKS:
        return ToolError(f"the clocks of {own} and {guest} are {abs(own.clock - guest.clock):.0f} seconds apart")
    return None


def _not_shared(folder: str, guest: Attendee) -> ToolError:
    return ToolError(
        f"{guest} does not see what is in the run folder {shown_path(folder)}",
        hint="the run folder has to be on a filesystem that all nodes share: --output-dir",
    )


def _missing(call: RollCall, here: list[Attendee]) -> ToolError:
    names = ", ".join(map(str, here))
    absent = call.nodes - len(here)
    who = f"node {call.nodes}" if absent == 1 else f"{absent} nodes"
    return ToolError(
        f"{who} of {call.nodes} never came within {call.patience:.0f} seconds; here are {names}",
        hint=f"start the same command there with --rdzv-endpoint {call.endpoint}; a firewall may keep them from that port",
    )


def _sees(folder: str, token: str) -> bool:
    end = time.monotonic() + _SEES
    while time.monotonic() < end:
        with contextlib.suppress(Exception):
            if read_bounded(os.path.join(folder, _PROOF), _MOST).decode() == token:
                return True
        time.sleep(_PAUSE)
    return False


class _Line:
    """Messages to and from one node: a JSON object on a line."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._file = end.makefile("rb")
        self.wait(_REPLY)
        self.address = str(end.getpeername()[0]).removeprefix("::ffff:")

    def wait(self, seconds: float) -> None:
        self._end.settimeout(seconds)

    def send(self, message: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):  # who has gone away needs no answer
            self._end.sendall(json.dumps(message).encode() + b"\n")

    def take(self) -> dict[str, Any]:
        try:
            text = self._file.readline(_MOST)
        except OSError as error:
            raise ToolError(f"{self.address} does not answer: {error}") from error
        try:
            found = json.loads(text) if text.endswith(b"\n") else {}
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    def close(self) -> None:
        self._file.close()
        self._end.close()


@contextlib.contextmanager
def _listening(endpoint: Endpoint) -> Iterator[socket.socket]:
    try:
        listener = socket.create_server(("", endpoint.port), backlog=128)
    except OSError as error:
        raise ToolError(
            f"port {endpoint.port}, where the nodes should meet, cannot be used: {error.strerror}",
            hint="another run may be there: name a free port, --rdzv-endpoint HOST:PORT",
        ) from error
    with listener:
        yield listener


def _callers(listener: socket.socket, patience: float) -> Iterator[_Line]:
    end = time.monotonic() + patience
    while (left := end - time.monotonic()) > 0:
        listener.settimeout(left)
        try:
            found, _ = listener.accept()
        except TimeoutError:
            return
        with contextlib.suppress(OSError):
            yield _Line(found)


def _connect(call: RollCall) -> _Line:
    end = time.monotonic() + call.patience
    reason = ""
    while time.monotonic() < end:
        try:
            return _Line(socket.create_connection(call.endpoint, timeout=_REPLY))
        except OSError as error:
            reason = error.strerror or str(error)
        time.sleep(_PAUSE)
    raise ToolError(
        f"nobody answered at {call.endpoint} within {call.patience:.0f} seconds: {reason}",
        hint="start the run there too; the port has to be reachable: a firewall, or a name that means another address",
    )
