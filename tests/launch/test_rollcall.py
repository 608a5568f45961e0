from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import pytest

from forge.base.errors import ToolError
from forge.launch import attendance, rollcall, rollcall_line
from forge.launch.address import Endpoint
from forge.launch.attendance import RollCall, this_node
from forge.launch.rollcall import ask_for_run, call_roll
from forge.launch.rollcall_line import AbsentNodeError, Deadline, RollLine, roll_line

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def call(run: Path) -> RollCall:
    (run / "graph.json").write_text("{}")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return RollCall(Endpoint("127.0.0.1", probe.getsockname()[1]), 2, "7", str(run), 10.0)


def answer_roll(call: RollCall) -> str:
    """Come to a roll call."""
    return rollcall.answer_roll(call, lambda _: None)


def reach(call: RollCall) -> RollLine:
    """A line to the host."""
    return roll_line(call.endpoint, Deadline(10, lambda _: None))


class Host:
    """The roll call of a host, in a thread."""

    def __init__(self, call: RollCall) -> None:
        self.said: list[str] = []
        self.result: Any = None
        self._call = call
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.result = call_roll(self._call, self.said.append)
        except ToolError as error:
            self.result = error

    def end(self) -> Any:
        self._thread.join(20)
        return self.result


def test_all_come(call: RollCall, run: Path) -> None:
    host = Host(call)
    assert ask_for_run(call) == run.name
    answer_roll(call)
    here = host.end()
    assert [node.name for node in here] == [socket.gethostname()] * 2
    assert here[1].address == "127.0.0.1"
    assert host.said == [f"2 of 2 nodes are here: {socket.gethostname()} (127.0.0.1) came"]
    assert sorted(file.name for file in run.iterdir()) == ["graph.json"]


def test_who_does_not_come_is_missed(call: RollCall) -> None:
    host = Host(replace(call, nodes=3, patience=1.0))
    with pytest.raises(AbsentNodeError, match="node 3 of 3 never came within 1 seconds; here are"):
        answer_roll(call)
    error = host.end()
    assert "node 3 of 3 never came" in str(error)
    assert f"--rdzv-endpoint {call.endpoint}" in str(error)


def test_nobody_answers(call: RollCall) -> None:
    with pytest.raises(AbsentNodeError, match=r"nobody answered at 127\.0\.0\.1:.*: Connection refused"):
        answer_roll(replace(call, patience=0.3))


def test_who_waits_for_the_host_says_so(call: RollCall, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollcall_line, "_TOLD", 0.3)
    said: list[str] = []
    with pytest.raises(AbsentNodeError):
        rollcall.answer_roll(replace(call, patience=1.0, names=("tiny-0.tiny", "tiny-1.tiny")), said.append)
    assert said[0] == "waiting for node 1 of 2 (tiny-0.tiny), where the nodes meet: 0 of 1 seconds"


def test_an_earlier_start_of_the_host_is_asked_again(call: RollCall, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollcall_line, "_REPLY", 0.3)
    answers: list[str] = []
    with socket.create_server(
        ("127.0.0.1", call.endpoint.port)
    ) as store:  # torch's own takes what is sent, and says nothing
        guest = threading.Thread(target=lambda: answers.append(answer_roll(call)))
        guest.start()
        first, _ = store.accept()
        store.accept()[0].close()
        first.close()
    host = Host(call)
    guest.join(20)
    assert answers == ["127.0.0.1"]
    assert len(host.end()) == 2


def test_who_went_away_may_come_again(call: RollCall) -> None:
    host = Host(replace(call, nodes=3, number=0))
    line = reach(call)
    line.send({"id": "7", "node": asdict(replace(this_node(call.folder), number=1))})
    assert "token" in line.take()
    line.send({"sees": True, "clock": time.time()})
    while not host.said:
        time.sleep(0.02)
    line.close()
    others = [threading.Thread(target=answer_roll, args=(replace(call, number=number),)) for number in (1, 2)]
    for other in others:
        other.start()
    assert [node.number for node in host.end()[1:]] in ([1, 2], [2, 1])
    for other in others:
        other.join(20)


def test_a_folder_that_is_not_shared(call: RollCall, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollcall, "_SEES", 0.3)
    host = Host(call)
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "graph.json").write_text("{}")
    with pytest.raises(ToolError, match="does not see what is in the run folder"):
        answer_roll(replace(call, folder=str(tmp_path / "own")))
    assert "filesystem that all nodes share" in str(host.end())


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda node: replace(node, runs={**node.runs, "torch": "1.0"}), "torch is .* on .* and 1.0 on"),
        (lambda node: replace(node, runs={**node.runs, "frozen config": "x"}), "frozen config is"),
    ],
)
def test_nodes_that_are_not_alike(
    call: RollCall, change: Callable[[Any], Any], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = Host(call)
    other = change(this_node(call.folder))
    monkeypatch.setattr(rollcall, "this_node", lambda _: other)
    with pytest.raises(ToolError, match=says):
        answer_roll(call)
    assert isinstance(host.end(), ToolError)


@pytest.mark.parametrize(("change", "says"), [({"number": 2}, "node 2 of 3"), ({}, "node 3 of 3")])
def test_who_is_missing_is_known_by_number(call: RollCall, change: dict[str, Any], says: str) -> None:
    host = Host(replace(call, nodes=3, patience=3.0, number=0))
    with pytest.raises(ToolError, match=f"{says} never came"):
        answer_roll(replace(call, **change))
    assert isinstance(host.end(), ToolError)


def test_who_is_missing_is_known_by_name(call: RollCall, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("127.0.0.1", "nosuch.invalid", "10.0.0.7", "10.0.0.8")
    host = Host(replace(call, nodes=4, patience=3.0, number=0, names=names))
    with pytest.raises(ToolError, match=r"nodes 2, 4 of 4 \(nosuch\.invalid, 10\.0\.0\.8\) never came"):
        answer_roll(replace(call, number=2, names=names))
    assert "nosuch.invalid does not answer from here either: nobody knows that name here" in str(host.end())
    monkeypatch.setattr(attendance, "_SSH", call.endpoint.port)  # where nobody listens any more
    host = Host(replace(call, patience=0.5, number=0, names=("127.0.0.1", "127.0.0.2")))
    assert "node 2 of 2 (127.0.0.2) never came" in str(host.end())
    assert "127.0.0.2 is up: look there for what its part says" in str(host.result)


def test_who_is_waited_for_is_said_again(call: RollCall, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollcall_line, "_TOLD", 0.3)
    host = Host(replace(call, patience=1.0, number=0, names=("a", "10.0.0.7")))
    host.end()
    assert "waiting for node 2 of 2 (10.0.0.7): 0 of 1 seconds" in host.said


def test_two_nodes_with_one_number(call: RollCall) -> None:
    host = Host(replace(call, number=0))
    with pytest.raises(ToolError, match="both say that they are node 0"):
        answer_roll(replace(call, number=0))
    assert "NODE_RANK" in str(host.end())


def test_a_node_that_cannot_start_its_part_is_named_on_all(call: RollCall) -> None:
    host = Host(call)
    with pytest.raises(ToolError, match=r"\(127\.0\.0\.1\) cannot start: 4 processes and 2 GPUs"):
        answer_roll(replace(call, problems=("4 processes and 2 GPUs",)))
    assert "cannot start: 4 processes and 2 GPUs" in str(host.end())
    host = Host(replace(call, problems=("no GPU",)))
    with pytest.raises(ToolError, match="cannot start: no GPU"):
        answer_roll(call)
    assert "cannot start: no GPU" in str(host.end())


def test_a_host_that_is_another_machine(call: RollCall) -> None:
    host = Host(replace(call, endpoint=Endpoint("nosuch.invalid", call.endpoint.port), patience=0.3))
    assert "nosuch.invalid is no address of this machine: does NODE_RANK" in str(host.end())


def test_clocks_that_are_far_apart(call: RollCall, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollcall, "_clock", lambda: time.time() + 3600)
    host = Host(call)
    with pytest.raises(ToolError, match=r"clocks of .* are (3600|3599) seconds apart"):
        answer_roll(call)
    assert "chrony" in str(host.end())


def test_clocks_that_differ_a_little_are_a_warning(call: RollCall, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollcall, "_clock", lambda: time.time() - 20.2)
    host = Host(call)
    assert answer_roll(call) == "127.0.0.1"
    assert len(host.end()) == 2
    assert any("warning: the clock of" in said and said.endswith("seconds behind") for said in host.said)


def test_another_version_may_say_more(call: RollCall) -> None:
    host = Host(call)
    line = reach(call)
    line.send({"id": "7", "node": {**asdict(this_node(call.folder)), "more": 1}})
    assert "token" in line.take()
    line.send({"sees": True, "clock": time.time()})
    assert line.take() == {"go": True}
    line.close()
    assert len(host.end()) == 2


def test_another_run_is_sent_away(call: RollCall) -> None:
    host = Host(call)
    with pytest.raises(ToolError, match="has the id '7', not '8'"):
        answer_roll(replace(call, id="8"))
    with pytest.raises(ToolError, match="has the id '7', not '8'"):
        ask_for_run(replace(call, id="8"))
    answer_roll(call)
    assert len(host.end()) == 2


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"\n",
        b"GET / HTTP/1.0\r\n\r\n",
        b"[]\n",
        b"\xff" * 70000,
        json.dumps({"id": "7", "node": {"x": 1}}).encode() + b"\n",
    ],
)
def test_what_is_no_node_disturbs_nobody(call: RollCall, said: bytes) -> None:
    host = Host(call)
    for _ in range(2):
        end = reach(call)._end
        with end, contextlib.suppress(OSError):  # the other end may have had enough of it
            end.sendall(said)
            end.shutdown(socket.SHUT_WR)
    answer_roll(call)
    assert len(host.end()) == 2


def test_what_answers_is_no_host(call: RollCall) -> None:
    with socket.create_server(("127.0.0.1", call.endpoint.port)) as server:

        def answer() -> None:
            end, _ = server.accept()
            end.recv(1000)
            end.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\n")
            end.close()

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(ToolError, match="is no run of forge"):
            ask_for_run(call)
        thread.join(10)


def test_a_port_that_is_taken(call: RollCall) -> None:
    with socket.create_server(("", call.endpoint.port)), pytest.raises(ToolError, match="cannot be used"):
        call_roll(call, print)
