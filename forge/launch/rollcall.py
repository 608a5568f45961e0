"""The roll call of a run on several nodes: before anything expensive starts, every node is there, and all are alike.

The node that hosts the rendezvous listens at its port until the others have come. Each says who it is and what it runs; each is
shown a token that has to be in its run folder too. Who is missing, is not like the rest, or cannot start what it is told, is named within
a minute, where the processes themselves would wait for each other, and say nothing. Then the port is given to torchrun.
"""

from __future__ import annotations

import contextlib
import os
import time
import uuid
from dataclasses import asdict, fields, replace
from typing import TYPE_CHECKING, Any, Final

from forge.base.errors import ToolError
from forge.base.files import read_bounded, remove_file, write_atomic
from forge.launch.attendance import (
    Attendee,
    absent_names,
    absent_node,
    not_shared,
    refuse_same_number,
    this_node,
    unlike_node,
)
from forge.launch.rollcall_line import AbsentNodeError, Deadline, roll_callers, roll_line, roll_listener

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from forge.launch.attendance import RollCall
    from forge.launch.rollcall_line import RollLine

__all__ = ["answer_roll", "ask_for_run", "call_roll"]

_MOST: Final = 1 << 16
_PROOF: Final = ".roll-call"  # in the run folder, while the roll is called
_SEES: Final = 5.0  # seconds until a file that was just written is seen on every node
_PAUSE: Final = 0.2
_DRIFT: Final = 2.0  # seconds between two clocks that are worth a word
_TURNED_AWAY: Final = 10.0  # seconds in which a host that cannot start says so to those who come
_LATER: Final = 10.0  # seconds by which the host may have begun to wait later


def call_roll(call: RollCall, say: Callable[[str], None]) -> list[Attendee]:
    """Wait for the other nodes, as the host; all that are there. ToolError says who is missing, or does not fit."""
    own = _present(call)
    token = uuid.uuid4().hex
    path = os.path.join(call.folder, _PROOF)
    write_atomic(path, token)
    here: list[tuple[Attendee, RollLine]] = []
    try:
        with roll_listener(call.endpoint) as listener:
            _gather(call, listener, own, token, here, say)
        for _, line in here:
            line.send({"go": True})
    except ToolError as error:
        for _, line in here:
            line.send({"error": error.what, "absent": isinstance(error, AbsentNodeError)})
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
    here: list[tuple[Attendee, RollLine]],
    say: Callable[[str], None],
) -> None:
    """Take in who comes, until all are there; ToolError when one does not, or cannot start its part."""

    def present() -> list[Attendee]:
        return [own, *(guest for guest, _ in here)]

    def waiting(seconds: float) -> None:
        say(f"waiting for {absent_names(call, present())}: {seconds:.0f} of {call.patience:.0f} seconds")

    # A host that cannot start itself still tells those who come why.
    patience = min(call.patience, _TURNED_AWAY) if own.problems else call.patience
    for line in roll_callers(listener, Deadline(patience, waiting)):
        guest = _welcome(line, call, own, token, say)
        if guest is not None:
            _forget_lost(here)
            here.append((guest, line))
            refuse_same_number(present())
            say(f"{len(here) + 1} of {call.nodes} nodes are here: {guest} came")
        if len(here) == call.nodes - 1:
            break
    problems = [f"{node} cannot start: {problem}" for node in present() for problem in node.problems]
    if problems:
        raise ToolError("; ".join(problems))
    if len(present()) < call.nodes:
        raise absent_node(call, present())


def _forget_lost(here: list[tuple[Attendee, RollLine]]) -> None:
    """Who has gone away is not there any more, and may come again."""
    for entry in [entry for entry in here if entry[1].lost]:
        entry[1].close()
        here.remove(entry)


def answer_roll(call: RollCall, say: Callable[[str], None]) -> str:
    """Come to the roll call of the host, wait until all are there, and return the own address by which the host is reached.

    ToolError when it comes to nothing. What answers and is no host may be an earlier start of it: it is asked again as long as there is time.
    """
    host = f"node 1 of {call.nodes} ({call.names[0]})" if call.names else str(call.endpoint)

    def waiting(seconds: float) -> None:
        say(f"waiting for {host}, where the nodes meet: {seconds:.0f} of {call.patience:.0f} seconds")

    deadline = Deadline(call.patience, waiting)
    while True:
        line = roll_line(call.endpoint, deadline)
        try:
            answer = _answered(line, call)
            if answer.get("go"):
                return line.own
        except ToolError:  # it has gone away, or never was one
            answer = {}
        finally:
            line.close()
        if "error" in answer:
            raise (AbsentNodeError if answer.get("absent") else ToolError)(str(answer["error"]))
        if deadline.over:
            raise ToolError(f"what answers at {call.endpoint} is no run of forge")
        time.sleep(_PAUSE)


def _answered(line: RollLine, call: RollCall) -> dict[str, Any]:
    """What the host has to say in the end."""
    line.send({"id": call.id, "node": asdict(_present(call))})
    answer = line.take()
    if "token" not in answer:
        return answer
    line.send({"sees": _sees(call.folder, str(answer["token"])), "clock": _clock()})
    line.wait(call.patience + _LATER)
    return line.take()


def _present(call: RollCall) -> Attendee:
    return replace(this_node(call.folder), number=call.number, problems=call.problems)


def ask_for_run(call: RollCall) -> str:
    """The name of the run's folder on the host; ToolError when nobody answers."""
    line = roll_line(call.endpoint, Deadline(call.patience, lambda _: None))
    try:
        line.send({"id": call.id, "ask": "run"})
        answer = line.take()
    finally:
        line.close()
    if not isinstance(answer.get("run"), str) or not answer["run"]:
        raise ToolError(str(answer.get("error") or f"what answers at {call.endpoint} is no run of forge"))
    return os.path.basename(str(answer["run"]))


def _welcome(line: RollLine, call: RollCall, own: Attendee, token: str, say: Callable[[str], None]) -> Attendee | None:
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
    problem = unlike_node(own, guest, ahead) if sees else not_shared(call.folder, guest)
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
