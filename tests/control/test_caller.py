from __future__ import annotations

import json
import os
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest

from forge.base.errors import ToolError
from forge.base.frames import FrameReader, frame
from forge.control import caller as callers
from forge.control.caller import ask_at_door, call
from forge.control.door import DOOR_FILE
from forge.control.processes import identity
from forge.control.register import this_host

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(not hasattr(socket, "SO_PEERCRED"), reason="no door where the system names no peer")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder that names a door."""
    told(tmp_path)
    return tmp_path


def told(run: Path, **changes: Any) -> None:
    where = {"host": this_host(), "socket": str(run / "s"), "process": identity(os.getpid()), **changes}
    (run / DOOR_FILE).write_text(json.dumps(where))


@pytest.fixture
def says(run: Path) -> Iterator[Callable[..., None]]:
    """Lets somebody sit behind the door who answers the one message that he gets with these bytes, and hangs up."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(run / "s"))
    listener.listen()
    listener.settimeout(20)
    threads: list[threading.Thread] = []

    def answer(*messages: bytes) -> None:
        def sit() -> None:
            end, _ = listener.accept()
            with end:
                while not list(FrameReader().feed(end.recv(4096))):
                    pass
                for message in messages:
                    end.sendall(message)

        threads.append(threading.Thread(target=sit))
        threads[-1].start()

    yield answer
    for thread in threads:
        thread.join()
    listener.close()


def test_an_answer_has_its_token(run: Path, says: Callable[..., None]) -> None:
    says(frame({"token": "t"}) + frame({"answer": {"step": 7}}))
    assert ask_at_door(str(run), {"do": "save"}) == ("t", {"step": 7})


def test_a_line_that_breaks_leaves_the_token(run: Path, says: Callable[..., None]) -> None:
    says(frame({"token": "t"}))
    assert ask_at_door(str(run), {"do": "save"}) == ("t", None)


@pytest.mark.parametrize("data", [b"", b"\0\0\0\x02[]", b"\xff\xff\xff\xff"])
def test_who_talks_nonsense_is_no_door(run: Path, says: Callable[..., None], data: bytes) -> None:
    says(data)
    assert ask_at_door(str(run), {"do": "save"}) is None


def test_a_refusal_is_an_error(run: Path, says: Callable[..., None]) -> None:
    says(frame({"error": "not today"}))
    with pytest.raises(ToolError, match="not today"):
        ask_at_door(str(run), {"do": "save"})


def test_where_nobody_listens_there_is_no_line(run: Path) -> None:
    assert call(str(run)) is None
    assert ask_at_door(str(run), {"do": "save"}) is None


@pytest.mark.parametrize(
    "changes",
    [{"host": "node7"}, {"process": [os.getpid(), "long ago"]}, {"process": 3}, {"process": None}, {"socket": "\0"}],
)
def test_another_machine_and_a_process_that_is_gone_are_not_called(
    run: Path, says: Callable[..., None], changes: dict[str, Any]
) -> None:
    assert says
    told(run, **changes)
    assert call(str(run)) is None


@pytest.mark.parametrize("text", ["", "[]", "{}", "x" * 5000])
def test_a_file_that_says_nothing_names_no_door(run: Path, text: str) -> None:
    (run / DOOR_FILE).write_text(text)
    assert call(str(run)) is None


def test_the_socket_of_another_user_is_not_trusted(
    run: Path, says: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert says
    monkeypatch.setattr(os, "geteuid", lambda: 4242)
    monkeypatch.setattr(callers, "peer_user", lambda _: 17)
    assert call(str(run)) is None
