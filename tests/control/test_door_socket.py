from __future__ import annotations

import os
import socket
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from forge.base.errors import FileError
from forge.control import door_socket
from forge.control.door_socket import listening_socket, peer_user

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(not hasattr(socket, "SO_PEERCRED"), reason="no door where the system names no peer")


def test_the_system_names_the_peer() -> None:
    one, other = socket.socketpair()
    with one, other:
        assert peer_user(one) == os.geteuid()


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder in which a socket can be, whose path must not be as long as those of pytest's own folders are."""
    with tempfile.TemporaryDirectory(prefix="f", dir=Path(os.sep, "tmp")) as folder:
        yield Path(folder)


@pytest.mark.parametrize("place", ["own", "temporary", "long"])
def test_nobody_else_can_enter_where_the_socket_is(place: str, short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = short / ("x" * 100 if place == "long" else "own")
    there.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", "relative" if place == "temporary" else str(there))
    monkeypatch.setattr(door_socket.tempfile, "gettempdir", lambda: str(there))
    name, listener = listening_socket()
    path = Path(name)
    try:
        if place == "long":
            assert path.parent == Path(os.sep, "tmp", f"forge-{os.geteuid()}")
        else:
            assert path.parent == there / ("forge" if place == "own" else f"forge-{os.geteuid()}")
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert path.stat().st_uid == path.parent.stat().st_uid == os.geteuid()
    finally:
        listener.close()
        path.unlink()


def test_without_a_place_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door_socket, "_folders", lambda: iter(["/proc/1/forge"]))
    with pytest.raises(FileError, match="/proc/1/forge"):
        listening_socket()
    monkeypatch.setattr(door_socket, "_folders", lambda: iter(["/" + "x" * 120]))
    with pytest.raises(FileError, match="no folder for a socket"):
        listening_socket()


def test_sockets_of_killed_runs_are_removed_and_no_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door_socket, "_folders", lambda: iter([str(tmp_path / "s")]))
    first, listener = listening_socket()
    dead = tmp_path / "s" / "1-dead.sock"
    end = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    end.bind(str(dead))
    end.close()
    (tmp_path / "s" / "note").touch()
    for young, left in ((1000.0, True), (-1.0, False)):
        monkeypatch.setattr(door_socket, "_YOUNG", young)
        listening_socket()[1].close()
        assert dead.exists() is left
    assert Path(first).exists()
    assert (tmp_path / "s" / "note").exists()
    listener.close()
