"""The door of a run, with real sockets: what is asked there is what is asked by files, and nobody who comes in badly does any harm."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from forge.base.frames import frame
from forge.control import door as doors
from forge.control import door_desk, door_socket
from forge.control.caller import Caller, call
from forge.control.door import DOOR_FILE, LONGEST_MESSAGE, Door
from forge.control.progress import RunProgress, write_progress
from forge.control.requests import SaveAnswer, ask_to_save, write_answers
from forge.control.settings import SetAnswer, requests_in, write_set_answers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Until = Callable[..., None]

pytestmark = pytest.mark.skipif(not hasattr(socket, "SO_PEERCRED"), reason="no door where the system names no peer")
NOBODY = 65534
VISITOR = """
import os, socket, sys
path, user = sys.argv[1], int(sys.argv[2])
os.chdir(os.path.dirname(path))  # what is above it may be closed to others as well
os.setgid(user), os.setuid(user)
end = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
try:
    end.connect(os.path.basename(path))
    end.settimeout(20)
    end.sendall((16).to_bytes(4, "big") + b'{"do": "status"}')
    print("heard" if end.recv(10) else "sent away")
except (PermissionError, ConnectionResetError, BrokenPipeError) as error:
    print(type(error).__name__)
"""


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder."""
    folder = tmp_path / "run"
    folder.mkdir()
    write_progress(str(folder), RunProgress(5, 300, 2.5, 9.0))
    return folder


@pytest.fixture
def places(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's own folder for sockets."""
    folder = tmp_path_factory.mktemp("r")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    return folder


@pytest.fixture
def door(run: Path, places: Path) -> Iterator[Door]:
    """An open door."""
    assert places.is_dir()
    made = Door(str(run))
    made.open()
    yield made
    made.close()


@pytest.fixture
def enter(run: Path, door: Door) -> Iterator[Callable[[], Caller]]:
    """Comes in through the door."""
    assert door
    callers: list[Caller] = []

    def come() -> Caller:
        caller = call(str(run))
        assert caller is not None
        callers.append(caller)
        return caller

    yield come
    for caller in callers:
        caller.close()


def raw(run: Path) -> socket.socket:
    """A line without manners."""
    end = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    end.connect(json.loads((run / DOOR_FILE).read_text())["socket"])
    end.settimeout(20)
    return end


def test_a_status(enter: Callable[[], Caller], run: Path) -> None:
    caller = enter()
    for _ in range(2):
        status = caller.ask("status")["status"]
        assert (status["step"], status["total"], status["loss"]) == (5, 300, 2.5)
        assert (status["pid"], status["run"], status["waiting"]) == (os.getpid(), str(run), [])


def test_stop_and_abort_are_the_files(enter: Callable[[], Caller], run: Path) -> None:
    assert enter().ask("stop") == {"asked": "stop"}
    assert enter().ask("abort") == {"asked": "abort"}
    assert (run / "STOP").exists()
    assert (run / "ABORT").exists()
    time.sleep(0.15)  # a status is the same for a tenth of a second
    assert enter().ask("status")["status"]["waiting"] == ["STOP", "ABORT"]


def test_a_save_is_answered_when_it_is_there_and_joins_the_one_that_waits(
    enter: Callable[[], Caller], run: Path
) -> None:
    token = ask_to_save(str(run))
    first, second = enter(), enter()
    assert first.ask("save") == second.ask("save") == {"token": token}
    assert first.hear(0.2) is None
    write_answers(str(run), [SaveAnswer(token, 7, "/c/checkpoint-7")])
    answer = {"answer": {"token": token, "step": 7, "path": "/c/checkpoint-7", "error": ""}}
    assert first.hear(20) == second.hear(20) == answer


def test_values_are_looked_at_before_they_are_asked_for(enter: Callable[[], Caller], run: Path) -> None:
    caller = enter()
    assert "set needs values" in caller.ask("set")["error"]
    assert "seed cannot change" in caller.ask("set", values={"seed": 3})["error"]
    assert not (run / "SET").exists()
    token = caller.ask("set", values={"lr_scale": 0.5})["token"]
    assert requests_in((run / "SET").read_bytes()) == [(token, {"lr_scale": 0.5})]
    write_set_answers(str(run), [SetAnswer(token, 9, {"lr_scale": (1.0, 0.5)})])
    assert caller.hear(20)["answer"]["changed"] == {"lr_scale": [1.0, 0.5]}


def test_who_watches_hears_what_is_new_until_the_end(enter: Callable[[], Caller], run: Path, door: Door) -> None:
    caller = enter()
    assert caller.ask("watch")["status"]["step"] == 5
    assert caller.hear(0.7) is None
    write_progress(str(run), RunProgress(6, 300, 2.25, 9.0))
    assert caller.hear(20)["status"]["step"] == 6
    door.close()
    assert caller.hear(20) is None
    assert call(str(run)) is None
    assert not (run / DOOR_FILE).exists()


def test_the_last_thing_that_a_run_does_is_still_an_answer(enter: Callable[[], Caller], run: Path, door: Door) -> None:
    caller = enter()
    token = caller.ask("save")["token"]
    write_answers(str(run), [SaveAnswer(token, 7, error="the run has ended")])
    door.close()
    assert caller.hear(20)["answer"]["error"] == "the run has ended"


def test_what_is_not_known_is_told_and_the_line_stays(enter: Callable[[], Caller], monkeypatch: Any) -> None:
    caller = enter()
    assert "'dance' is not known here: status, watch, save" in caller.ask("dance")["error"]
    monkeypatch.setattr(door_desk, "ask_to_stop", lambda _: 1 / 0)
    assert caller.ask("stop") == {"error": "division by zero"}
    assert "status" in caller.ask("status")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_is_refused(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the folder; and where that were open to all, by the run itself."""
    monkeypatch.setattr(door_socket, "_folders", lambda: iter([os.path.join(own, "forge")]))
    with tempfile.TemporaryDirectory(dir=os.path.join(os.sep, "tmp")) as own:
        Path(own).chmod(0o755)  # as the folder for temporary files is
        door = Door(str(run))
        door.open()
        try:
            refuses(run)
        finally:
            door.close()


def refuses(run: Path) -> None:
    path = json.loads((run / DOOR_FILE).read_text())["socket"]

    def visit(user: int) -> str:
        done = subprocess.run(
            [sys.executable, "-c", VISITOR, path, str(user)], capture_output=True, text=True, timeout=60, check=True
        )
        return done.stdout.strip()

    assert visit(NOBODY) == "PermissionError"
    Path(path).parent.chmod(0o755)
    assert visit(NOBODY) == "PermissionError"
    Path(path).chmod(0o666)
    assert visit(NOBODY) in {"sent away", "ConnectionResetError", "BrokenPipeError"}
    assert visit(0) == "heard"


def hostile(run: Path, ends: list[socket.socket]) -> None:
    """Every kind of guest that nobody wants."""
    for data in (
        b"GET / HTTP/1.1\r\n\r\n",
        (LONGEST_MESSAGE + 1).to_bytes(4, "big"),
        frame({"do": "status"})[:-1],
        (60_000).to_bytes(4, "big") + b"[" * 60_000,
        b"\0\0\0\x02[]",
        b"",
        frame({"do": "watch"}),
        frame({"do": "status"}) * 10,
        b"".join(frame({"do": "save"}) for _ in range(200)),
        frame({"do": {"a": [1]}, "values": None}),
        frame({}),
    ):
        end = raw(run)
        ends.append(end)
        with contextlib.suppress(OSError):
            end.sendall(data)


def test_bad_guests_keep_nobody_waiting_and_take_little(
    enter: Callable[[], Caller], run: Path, door: Door, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doors, "_IDLE", 0.5)
    ends: list[socket.socket] = []
    over = threading.Event()

    def ask_without_end() -> None:
        with contextlib.suppress(OSError), raw(run) as end:
            while not over.is_set():
                end.sendall(frame({"do": "status"}))

    floods = [threading.Thread(target=ask_without_end) for _ in range(3)]
    began = time.monotonic()
    for flood in floods:
        flood.start()
    for _ in range(9):  # more than may be inside at once
        hostile(run, ends)
        caller = enter()
        assert caller.ask("status")["status"]["step"] == 5
        caller.close()
    over.set()
    for flood in floods:
        flood.join()
    assert door.worked < 0.2 * (time.monotonic() - began) + 0.2
    until(lambda: all(guest.task is not None for guest in door._guests.values()))  # who asks nothing is sent away
    assert sum(len(guest.out) for guest in door._guests.values()) <= 64 * LONGEST_MESSAGE
    for end in ends:
        end.close()
    until(lambda: not door._guests)
    assert enter().ask("status")["status"]["step"] == 5


def test_who_never_reads_is_sent_away(run: Path, door: Door, until: Until, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doors, "_IDLE", 0.5)
    monkeypatch.setattr(door_desk, "_NEWS", 0.0)
    monkeypatch.setattr(door_desk, "_FRESH", -1.0)
    numbers = iter(range(1 << 30))
    monkeypatch.setattr(door_desk, "_status_of", lambda _: {"step": next(numbers), "text": "x" * 50_000})
    end = raw(run)
    end.sendall(frame({"do": "watch"}))
    until(lambda: door._guests)
    until(lambda: not door._guests)
    end.close()


def test_a_forked_process_does_not_keep_the_door_open(run: Path, door: Door) -> None:
    child = os.fork()
    if not child:
        os._exit(int(bool(doors._OPEN)) + 2 * (door._listener.fileno() >= 0))
    assert os.waitpid(child, 0)[1] == 0
    caller = call(str(run))
    assert caller is not None
    assert caller.ask("status")
    caller.close()
