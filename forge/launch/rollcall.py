"""The roll call of a run on several nodes: before anything expensive starts, every node is there, and all are alike.

The node that hosts the rendezvous listens at its port until the others have come. Each says who it is and what it runs; each is
shown a token that has to be in its run folder too. Who is missing, is not like the rest, or cannot start what it is told, is named within
a minute, where the processes themselves would wait for each other, and say nothing. Then the port is given to torchrun.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import time
import uuid
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Final

from forge import __version__
from forge.base.errors import ToolError
from forge.base.files import read_bounded, remove_file, write_atomic
from forge.base.origin import shown_path
from forge.launch.address import Endpoint, is_own
from forge.launch.preflight_node import forge_source
from forge.launch.preflight_reach import answer_of, knock, reach_advice

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from forge.launch.preflight_reach import PortAnswer

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
_DRIFT: Final = 2.0  # seconds between two clocks that are worth a word
_TOLD: Final = 15.0  # seconds after which it is said again who is waited for
_TURNED_AWAY: Final = 10.0  # seconds in which a host that cannot start says so to those who come
_SSH: Final = 22
_LOOK: Final = 2.0
_PACKAGES: Final = ("torch", "transformers", "nvidia-nccl-cu12", "nvidia-nccl-cu13")


@dataclass(frozen=True)
class RollCall:
    """A run that nodes come together for: where, how many, its id, and its folder.

    ``number`` is this node's, ``names`` those of all, where they are known, and ``problems`` is why it cannot start its part.
    """

    endpoint: Endpoint
    nodes: int
    id: str
    folder: str
    patience: float = ROLL_PATIENCE
    number: int | None = None
    names: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class Attendee:
    """A node: its name, the address it speaks from, what it runs, its number, and why it cannot start its part."""

    name: str
    runs: dict[str, str]
    address: str = ""
    number: int | None = None
    problems: tuple[str, ...] = ()

    def __str__(self) -> str:
        """For a person."""
        return f"{self.name} ({self.address})" if self.address else self.name


def this_node(run_folder: str) -> Attendee:
    """This machine, as it takes part in a run."""
    from importlib.metadata import PackageNotFoundError, version  # only for several nodes

    runs = {"forge": f"{__version__} ({forge_source()})"}
    for package in _PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            runs[package] = version(package)
    path = os.path.join(run_folder, _GRAPH)
    if os.path.exists(path):
        runs["frozen config"] = hashlib.sha256(read_bounded(path, _LARGEST)).hexdigest()[:12]
    return Attendee(socket.gethostname(), runs)


def call_roll(call: RollCall, say: Callable[[str], None]) -> list[Attendee]:
    """Wait for the other nodes, as the host; all that are there. ToolError says who is missing, or does not fit."""
    own = _present(call)
    token = uuid.uuid4().hex
    path = os.path.join(call.folder, _PROOF)
    write_atomic(path, token)
    here: list[tuple[Attendee, _Line]] = []
    try:
        with _listening(call.endpoint) as listener:
            _gather(call, listener, own, token, here, say)
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
    return [replace(own, address=here[0][1].own) if here else own, *(guest for guest, _ in here)]


def _gather(
    call: RollCall,
    listener: socket.socket,
    own: Attendee,
    token: str,
    here: list[tuple[Attendee, _Line]],
    say: Callable[[str], None],
) -> None:
    """Take in who comes, until all are there; ToolError when one does not, or cannot start its part."""

    def waiting(seconds: float) -> None:
        names = _absent(call, [own, *(guest for guest, _ in here)])
        say(f"waiting for {names}: {seconds:.0f} of {call.patience:.0f} seconds")

    # A host that cannot start itself still tells those who come why.
    patience = min(call.patience, _TURNED_AWAY) if own.problems else call.patience
    for line in _callers(listener, patience, waiting):
        guest = _welcome(line, call, own, token, say)
        if guest is not None:
            here.append((guest, line))
            _refuse_same_number([own, *(each for each, _ in here)])
            say(f"{len(here) + 1} of {call.nodes} nodes are here: {guest} came")
        if len(here) == call.nodes - 1:
            break
    present = [own, *(guest for guest, _ in here)]
    problems = [f"{node} cannot start: {problem}" for node in present for problem in node.problems]
    if problems:
        raise ToolError("; ".join(problems))
    if len(present) < call.nodes:
        raise _missing(call, present)


def answer_roll(call: RollCall) -> str:
    """Come to the roll call of the host, wait until all are there, and return the own address by which the host is reached.

    ToolError when it comes to nothing.
    """
    line = _connect(call)
    try:
        line.send({"id": call.id, "node": asdict(_present(call))})
        answer = line.take()
        if "token" in answer:
            sees = _sees(call.folder, str(answer["token"]))
            line.send({"sees": sees, "clock": _clock()})
            line.wait(call.patience + _REPLY)
            answer = line.take()
    finally:
        line.close()
    if not answer.get("go"):
        raise ToolError(str(answer.get("error") or f"what answers at {call.endpoint} is no run of forge"))
    return line.own


def _present(call: RollCall) -> Attendee:
    return replace(this_node(call.folder), number=call.number, problems=call.problems)


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


def _welcome(line: _Line, call: RollCall, own: Attendee, token: str, say: Callable[[str], None]) -> Attendee | None:
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
        guest = _guest(said["node"], line.address)
        line.send({"token": token})
        said = line.take()
        sees, ahead = said.get("sees"), float(said["clock"]) - time.time()
    except (OSError, ValueError, TypeError, KeyError, ToolError):
        line.close()
        return None
    problem = _unlike(own, guest, ahead) if sees else _not_shared(call.folder, guest)
    if problem is not None:
        line.send({"error": problem.what})
        line.close()
        raise problem
    if abs(ahead) > _DRIFT:
        say(f"warning: the clock of {guest} is {abs(ahead):.0f} seconds {'ahead' if ahead > 0 else 'behind'}")
    return guest


def _guest(said: Any, address: str) -> Attendee:
    """A node as it describes itself; what another version of forge says beyond that is left out."""
    known = {entry.name: said[entry.name] for entry in fields(Attendee) if entry.name in said}
    guest = Attendee(**{**known, "address": address, "problems": tuple(map(str, known.get("problems", ())))})
    return replace(guest, runs=dict(guest.runs))


def _refuse_same_number(present: Sequence[Attendee]) -> None:
    for place, node in enumerate(present):
        same = [other for other in present[:place] if node.number is not None and other.number == node.number]
        if same:
            raise ToolError(
                f"{same[0]} and {node} both say that they are node {node.number}",
                hint="give each node a number of its own, from 0: NODE_RANK, or --node-rank",
            )


def _unlike(own: Attendee, guest: Attendee, ahead: float) -> ToolError | None:
    for name in dict.fromkeys([*own.runs, *guest.runs]):
        ours, theirs = own.runs.get(name, "none"), guest.runs.get(name, "none")
        if ours != theirs:
            return ToolError(
                f"{name} is {ours} on {own} and {theirs} on {guest}: all nodes have to run the same",
                hint="use one environment, or one container image, on all nodes",
            )
    if abs(ahead) > _CLOCKS:
        return ToolError(
            f"the clocks of {own} and {guest} are {abs(ahead):.0f} seconds apart",
            hint="let all nodes keep their time by chrony or systemd-timesyncd",
        )
    return None


def _not_shared(folder: str, guest: Attendee) -> ToolError:
    return ToolError(
        f"{guest} does not see what is in the run folder {shown_path(folder)}",
        hint="the run folder has to be on a filesystem that all nodes share: --output-dir",
    )


def _missing(call: RollCall, here: list[Attendee]) -> ToolError:
    names = ", ".join(map(str, here))
    return ToolError(
        f"{_absent(call, here)} never came within {call.patience:.0f} seconds; here are {names}",
        hint=_look_for(call, here),
    )


def _absent(call: RollCall, here: Sequence[Attendee]) -> str:
    """Who is not there: by name where the names of all are known, by number where all have one."""
    numbers = _absent_numbers(call, here)
    count = call.nodes - len(here)
    if len(numbers) != count:
        return f"node {call.nodes} of {call.nodes}" if count == 1 else f"{count} nodes of {call.nodes}"
    names = f" ({', '.join(call.names[number] for number in numbers)})" if call.names else ""
    return f"node{'s' * (count > 1)} {', '.join(str(number + 1) for number in numbers)} of {call.nodes}{names}"


def _absent_numbers(call: RollCall, here: Sequence[Attendee]) -> list[int]:
    if len(call.names) not in {0, call.nodes}:
        return []
    there = {node.number for node in here}
    return [] if None in there else [number for number in range(call.nodes) if number not in there]


def _look_for(call: RollCall, here: Sequence[Attendee]) -> str:
    """What to do about those who did not come: where a name is known, whether that machine answers at all."""
    if not is_own(call.endpoint.host):
        return f"{call.endpoint.host} is no address of this machine: does NODE_RANK, or is_host=true, belong on another node?"
    start = (
        f"start the same command there with --rdzv-endpoint {call.endpoint}; a firewall may keep them from that port"
    )
    for number in _absent_numbers(call, here)[:1] if call.names else []:
        name = call.names[number]
        # That nobody listens at the port of ssh is an answer too.
        answer = knock(Endpoint(name, _SSH), _LOOK).answer
        if answer not in {"open", "closed"}:
            return f"{name} does not answer from here either: {reach_advice(answer)}"
        return f"{name} is up: look there for what its part says; {start}"
    return start


def _clock() -> float:
    """What time it is on this node."""
    return time.time()


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
        self.own = str(end.getsockname()[0]).removeprefix("::ffff:")

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


def _callers(listener: socket.socket, patience: float, waiting: Callable[[float], None]) -> Iterator[_Line]:
    began = told = time.monotonic()
    while (now := time.monotonic()) < began + patience:
        if now - told >= _TOLD:
            told = now
            waiting(now - began)
        listener.settimeout(min(began + patience, told + _TOLD) - now)
        try:
            found, _ = listener.accept()
        except (TimeoutError, BlockingIOError):
            continue
        with contextlib.suppress(OSError):
            yield _Line(found)


def _connect(call: RollCall) -> _Line:
    end = time.monotonic() + call.patience
    reason = ""
    answer: PortAnswer = "closed"
    while time.monotonic() < end:
        try:
            return _Line(socket.create_connection(call.endpoint, timeout=_REPLY))
        except OSError as error:
            reason, answer = error.strerror or str(error), answer_of(error)
        time.sleep(_PAUSE)
    raise ToolError(
        f"nobody answered at {call.endpoint} within {call.patience:.0f} seconds: {reason}",
        hint=reach_advice(answer),
    )
