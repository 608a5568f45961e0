from __future__ import annotations

import socket

import pytest

from forge.base.errors import UsageError
from forge.launch.address import Endpoint, endpoint_of, is_free, is_own, way_to


@pytest.mark.parametrize(
    ("text", "host", "port", "shown"),
    [
        ("hal", "hal", 7, "hal:7"),
        ("hal:29400", "hal", 29400, "hal:29400"),
        ("[fe80::1]:99", "fe80::1", 99, "[fe80::1]:99"),
        ("[::1]", "::1", 7, "[::1]:7"),
        ("::1", "::1", 7, "[::1]:7"),
    ],
)
def test_where_nodes_meet(text: str, host: str, port: int, shown: str) -> None:
    endpoint = endpoint_of(text, 7)
    assert endpoint == Endpoint(host, port)
    assert str(endpoint) == shown


@pytest.mark.parametrize("text", ["", ":1", "a b", "a:x", "a:0", "a:65536", "[a]:x"])
def test_where_nobody_can_meet(text: str) -> None:
    with pytest.raises(UsageError):
        endpoint_of(text, 7)


def test_own_addresses_are_told_from_others() -> None:
    assert is_own("127.0.0.1")
    assert is_own("localhost")
    assert not is_own("192.0.2.77")
    assert not is_own("no-such-host.invalid")


def test_a_port_is_free_until_somebody_listens() -> None:
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        assert not is_free(port)
    assert is_free(port)


def test_the_way_to_a_host() -> None:
    assert way_to("127.0.0.1") == "127.0.0.1"
    assert way_to("no-such-host.invalid") is None


def test_a_name_for_oneself_is_no_way_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = [(socket.AF_INET, socket.SOCK_DGRAM, 17, "", ("127.0.1.1", 9))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: loop)
    assert way_to("hal9000") is None
