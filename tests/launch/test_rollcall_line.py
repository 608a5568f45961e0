from __future__ import annotations

import socket
import time

import pytest

from forge.base.errors import ToolError
from forge.launch import rollcall_line
from forge.launch.address import Endpoint
from forge.launch.rollcall_line import AbsentNodeError, Deadline, RollLine, roll_callers, roll_line, roll_listener


@pytest.fixture
def endpoint() -> Endpoint:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return Endpoint("127.0.0.1", probe.getsockname()[1])


def test_messages_go_both_ways_and_who_hangs_up_is_lost(endpoint: Endpoint) -> None:
    deadline = Deadline(10, lambda _: None)
    with roll_listener(endpoint) as listener:
        guest = roll_line(endpoint, deadline)
        host = next(roll_callers(listener, deadline))
        guest.send({"id": "7"})
        assert host.take() == {"id": "7"}
        assert (host.address, guest.own, host.lost) == ("127.0.0.1", "127.0.0.1", False)
        guest.close()
        while not host.lost:
            time.sleep(0.01)
        assert host.take() == {}
        host.close()


def test_who_says_nothing_is_not_waited_for(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollcall_line, "_REPLY", 0.2)
    with roll_listener(endpoint):
        line = RollLine(socket.create_connection(endpoint))
        with pytest.raises(ToolError, match=r"127\.0\.0\.1 does not answer: timed out"):
            line.take()
        line.close()


def test_nobody_calls_and_nobody_answers(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollcall_line, "_TOLD", 0.2)
    said: list[float] = []
    with roll_listener(endpoint) as listener:
        assert list(roll_callers(listener, Deadline(0.7, said.append))) == []
    assert len(said) >= 2
    assert said[0] >= 0.2
    with pytest.raises(AbsentNodeError, match=r"nobody answered at .* within 0 seconds: Connection refused"):
        roll_line(endpoint, Deadline(0.3, said.append))


def test_a_port_is_taken_once(endpoint: Endpoint) -> None:
    with roll_listener(endpoint), pytest.raises(ToolError, match="cannot be used"), roll_listener(endpoint):
        pass
