from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING

import pytest

from forge.doctor import link_speed
from forge.doctor.link_speed import SpeedListener, measure_link
from forge.launch.address import Endpoint

if TYPE_CHECKING:
    from collections.abc import Iterator

TOKEN = "a" * 32


@pytest.fixture
def listener(monkeypatch: pytest.MonkeyPatch) -> Iterator[SpeedListener]:
    monkeypatch.setattr(link_speed, "_MOST", 8 << 20)
    found = SpeedListener(TOKEN)
    yield found
    found.close()


def here(port: int) -> Endpoint:
    return Endpoint("127.0.0.1", port)


def test_a_way_is_measured(listener: SpeedListener) -> None:
    found = measure_link(here(listener.port), TOKEN)
    assert (found.answer, found.known, found.stalled, found.own) == ("open", True, False, "127.0.0.1")
    assert 0 < found.latency < 1
    assert found.bandwidth is not None
    assert found.bandwidth > 1e5
    assert measure_link(here(listener.port), TOKEN, bandwidth=False).bandwidth is None


def test_who_does_not_know_the_token_gets_nothing(listener: SpeedListener) -> None:
    found = measure_link(here(listener.port), "b" * 32)
    assert (found.answer, found.known, found.bandwidth) == ("open", False, None)


def test_a_closed_port_is_closed(listener: SpeedListener) -> None:
    listener.close()
    found = measure_link(here(listener.port), TOKEN)
    assert (found.answer, found.detail) == ("closed", "Connection refused")
    with socket.create_server(("127.0.0.1", 0)) as server, pytest.raises(OSError, match="in use"):
        SpeedListener(TOKEN, server.getsockname()[1])


def test_large_messages_that_do_not_arrive() -> None:
    """As where a switch drops packets that are larger than its own."""
    done = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer_small_ones() -> None:
            end, _ = server.accept()
            with end:
                end.recv(64, socket.MSG_WAITALL)
                while end.recv(1) == b"p":
                    end.sendall(b"p")
                done.wait(20)

        thread = threading.Thread(target=answer_small_ones)
        thread.start()
        found = measure_link(here(server.getsockname()[1]), TOKEN, patience=2.0)
        done.set()
        thread.join(20)
    assert (found.known, found.stalled, found.bandwidth) == (True, True, None)
