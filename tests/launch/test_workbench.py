"""A process that is asked: what comes back, and what is said when it dies, babbles, or is interrupted."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from forge.base.errors import ToolError
from forge.launch import workbench
from forge.launch.workbench import Answer, Request, Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# A stand-in for the module: BODY runs when a request has been read.
PROGRAM = """
import os, signal, sys, time
from forge.base.frames import FrameReader, frame

def send(**message):
    data = frame(message)
    while data:
        data = data[os.write(1, data):]

def answer(number, **more):
    send(number=number, **{"code": 0, "text": "", "printed": "", "error": "", **more})

def say(text):
    os.write(2, text.encode())

reader = FrameReader()
def messages():
    while data := os.read(0, 65536):
        yield from reader.feed(data)

for message in messages():
    number = message.get("number")
"""


class Heard:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.steps: list[str] = []
        self.first = threading.Event()

    def note(self, text: str) -> None:
        self.notes.append(text)
        self.first.set()

    def progress(self, text: str) -> None:
        self.steps.append(text)
        if text:
            self.first.set()


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Worker]]:
    """A worker that does this with a request."""
    made = []

    def start(body: str) -> Worker:
        lines = "".join(f"    {line}\n" for line in body.splitlines())
        monkeypatch.setattr(workbench, "module_command", lambda _: [sys.executable, "-c", PROGRAM + lines])
        made.append(Worker())
        return made[-1]

    yield start
    for worker in made:
        worker.kill()


REQUEST = Request("build", {"key": "x"}, "/")


def interrupt_at_first_news(heard: Heard, times: int = 1) -> threading.Thread:
    """Press Ctrl-C as soon as something is heard, and again as soon as it is being stopped."""

    def press() -> None:
        heard.first.wait(20)
        os.kill(os.getpid(), signal.SIGINT)
        if times > 1:
            while not any(note.startswith("stopping it") for note in heard.notes):
                time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=press)
    thread.start()
    return thread


def test_an_answer_comes_with_all_that_was_said_before_it(make: Callable[[str], Worker], heard: Heard) -> None:
    worker = make(
        "say('one\\ntwo 1%\\rtwo 99%\\n')\nsend(number=number, progress='half')\nsay('unfinished')\n"
        "answer(number, text=message['arguments']['key'] + message['folder'], code=1)"
    )
    for _ in range(2):
        assert worker.ask(REQUEST, heard) == Answer(1, "x/")
    assert heard.notes == ["one", "two 99%", "unfinished"] * 2
    assert heard.steps == ["half", ""] * 2
    assert worker.alive


def test_a_big_answer_and_a_big_request(make: Callable[[str], Worker], heard: Heard) -> None:
    worker = make("answer(number, text=message['arguments']['key'] * 2)")
    big = "日" * 1_000_000
    assert worker.ask(Request("build", {"key": big}, "/"), heard).text == big * 2


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("say('the last words\\n')\nos._exit(7)", ["ended with exit code 7", "the last words"]),
        ("os.kill(os.getpid(), signal.SIGKILL)", ["was ended by SIGKILL", "memory"]),
        ("os.kill(os.getpid(), signal.SIGSEGV)", ["was ended by SIGSEGV"]),
    ],
)
def test_a_process_that_dies_says_how(make: Callable[[str], Worker], heard: Heard, body: str, says: list[str]) -> None:
    worker = make(body)
    with pytest.raises(ToolError) as raised:
        worker.ask(REQUEST, heard)
    assert all(part in str(raised.value) for part in says)
    assert not worker.alive


@pytest.mark.parametrize(
    "body",
    [
        "os.write(1, b'a library prints where only answers belong')",
        "os.write(1, b'\\0\\0\\0\\2[]')",
        "answer(number + 1)",
        "send(number=number, code=0)",
    ],
)
def test_what_is_no_answer_ends_the_process(make: Callable[[str], Worker], heard: Heard, body: str) -> None:
    worker = make(body)
    with pytest.raises(ToolError, match="what is no answer"):
        worker.ask(REQUEST, heard)
    assert not worker.alive


def test_ctrl_c_ends_the_request_and_not_the_process(make: Callable[[str], Worker], heard: Heard) -> None:
    worker = make(
        "if 'interrupt' in message:\n    answer(message['interrupt'], code=130)\nelse:\n    say('working\\n')"
    )
    pressing = interrupt_at_first_news(heard)
    with pytest.raises(KeyboardInterrupt):
        worker.ask(REQUEST, heard)
    pressing.join()
    assert worker.alive
    assert "Ctrl-C again" in heard.notes[-1]


def test_a_process_that_does_not_hear_is_killed(
    make: Callable[[str], Worker], heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workbench, "_PATIENCE", 0.2)
    worker = make("say('deaf\\n')\nwhile True: time.sleep(60)")
    pressing = interrupt_at_first_news(heard)
    with pytest.raises(KeyboardInterrupt):
        worker.ask(REQUEST, heard)
    pressing.join()
    assert not worker.alive


def test_the_second_ctrl_c_does_not_wait(make: Callable[[str], Worker], heard: Heard) -> None:
    worker = make("say('deaf\\n')\nwhile True: time.sleep(60)")
    pressing = interrupt_at_first_news(heard, times=2)
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        worker.ask(REQUEST, heard)
    pressing.join()
    assert time.monotonic() - began < 4
    assert not worker.alive


def test_what_the_process_has_started_ends_with_it(make: Callable[[str], Worker], heard: Heard, tmp_path: Path) -> None:
    child = tmp_path / "child"
    worker = make(
        f"import subprocess\nrest = subprocess.Popen(['sleep', '600'])\nopen({str(child)!r}, 'w').write(str(rest.pid))\n"
        "answer(number)"
    )
    worker.ask(REQUEST, heard)
    worker.kill()
    status = Path("/proc", child.read_text(), "stat")
    while status.exists() and " Z " not in status.read_text():  # what is dead may wait for init to take note
        time.sleep(0.01)


def test_an_answer_that_is_the_last_ends_the_process(make: Callable[[str], Worker], heard: Heard) -> None:
    worker = make("answer(number, code=130, last=True)\nbreak")
    assert worker.ask(REQUEST, heard).code == 130
    assert not worker.alive


def test_a_process_ends_when_nothing_more_can_come(make: Callable[[str], Worker], heard: Heard) -> None:
    worker = make("answer(number)")
    worker.ask(REQUEST, heard)
    assert worker.pid
    worker.close()
    assert not worker.alive
