from __future__ import annotations

import errno
import os
import socket

import pytest

from forge.launch import preflight_reach
from forge.launch.address import Endpoint
from forge.launch.preflight_reach import answer_of, knock, port_holder, reach_advice


def test_a_port_that_is_open_and_closed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        endpoint = Endpoint("127.0.0.1", server.getsockname()[1])
        found = knock(endpoint)
        assert (found.answer, found.own) == ("open", "127.0.0.1")
        assert (port_holder(endpoint.port) or "").endswith(f" (process {os.getpid()})")
    found = knock(endpoint)
    assert (found.answer, found.detail) == ("closed", "Connection refused")
    assert port_holder(endpoint.port) is None


def test_a_name_that_nobody_knows() -> None:
    assert knock(Endpoint("nosuch.invalid", 9)).answer == "unknown name"


@pytest.mark.parametrize(
    ("error", "answer"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), "closed"),
        (ConnectionResetError(errno.ECONNRESET, "reset"), "closed"),
        (TimeoutError("timed out"), "filtered"),
        (PermissionError(errno.EPERM, "a rule of this machine's own"), "filtered"),
        (OSError(errno.EHOSTUNREACH, "no route"), "no route"),
        (OSError(errno.ENETUNREACH, "no network"), "no route"),
        (socket.gaierror(-2, "unknown"), "unknown name"),
    ],
)
def test_what_an_error_says_of_a_port(error: OSError, answer: str) -> None:
    assert answer_of(error) == answer
    assert bool(reach_advice(answer_of(error)))


def test_a_holder_that_may_not_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight_reach, "_listening", lambda _: iter(["0"]))
    assert port_holder(1) is None
    assert reach_advice("open") == ""
