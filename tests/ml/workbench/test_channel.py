"""The pipes of the workbench, in a process of its own whose main thread does what a script says."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from forge.base.frames import FrameReader, frame

if TYPE_CHECKING:
    from collections.abc import Iterator

PROGRAM = """
import os, sys, time
from forge.ml.workbench.channel import Channel
channel = Channel()
channel.send({"ready": True})
"""
ECHO = """
for request in channel.requests():
    try:
        with channel.working_on(request["number"]):
            if request.get("slow"):
                channel.progress("begun")
                while True:
                    time.sleep(60)
        channel.send({"number": request["number"], "done": True})
    except KeyboardInterrupt:
        channel.send({"number": request["number"], "done": False})
"""


class Process:
    """A process with a channel."""

    def __init__(self, body: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM + body],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
        )
        self.reader = FrameReader()
        self.waiting: list[dict[str, Any]] = []
        assert self.next() == {"ready": True}

    def send(self, **message: Any) -> None:
        self.process.stdin.write(frame(message))

    def next(self) -> dict[str, Any] | None:
        """The next message; None when there are no more."""
        while not self.waiting:
            data = os.read(self.process.stdout.fileno(), 65536)
            if not data:
                return None
            self.waiting += self.reader.feed(data)
        return self.waiting.pop(0)

    def end(self) -> tuple[int, str]:
        """The exit code and what stands on standard error, after the input has ended."""
        self.process.stdin.close()
        said = self.process.stderr.read().decode()
        return self.process.wait(20), said

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def start() -> Iterator[Any]:
    made: list[Process] = []

    def make(body: str) -> Process:
        made.append(Process(body))
        return made[-1]

    yield make
    for process in made:
        for pipe in (process.process.stdin, process.process.stdout, process.process.stderr):
            pipe.close()
        process.process.kill()
        process.process.wait()


def test_what_is_printed_is_no_message(start: Any) -> None:
    process = start("print('python'); os.system('echo a child'); os.write(1, b'the system\\n')\nchannel.send({'a': 1})")
    assert process.next() == {"a": 1}
    assert process.next() is None
    code, said = process.end()
    assert code == 0
    assert sorted(said.splitlines()) == ["a child", "python", "the system"]


def test_nothing_can_be_read_by_a_library(start: Any) -> None:
    process = start("channel.send({'read': sys.stdin.read()})")
    assert process.next() == {"read": ""}


def test_requests_come_in_their_order_until_there_are_no_more(start: Any) -> None:
    process = start(ECHO)
    for number in range(3):
        process.send(number=number)
    assert [process.next() for _ in range(3)] == [{"number": n, "done": True} for n in range(3)]
    assert process.end() == (0, "")


def test_an_interrupt_is_for_one_request(start: Any) -> None:
    process = start(ECHO)
    process.send(interrupt=1)  # of nothing that is worked on: it neither ends the process nor meets another request
    process.send(number=2, slow=True)
    assert process.next() == {"number": 2, "progress": "begun"}
    process.send(interrupt=1)
    process.send(interrupt=2)
    assert process.next() == {"number": 2, "done": False}
    process.send(interrupt=2)
    process.send(number=3)
    assert process.next() == {"number": 3, "done": True}
    assert process.end() == (0, "")


def test_a_request_that_was_interrupted_before_it_began_does_not_begin(start: Any) -> None:
    process = start(ECHO)
    process.send(interrupt=5)
    process.send(number=5, slow=True)
    assert process.next() == {"number": 5, "done": False}


def test_messages_stay_whole_however_often_it_is_interrupted(start: Any) -> None:
    process = start(
        "for request in channel.requests():\n"
        "    try:\n"
        "        with channel.working_on(request['number']):\n"
        "            while True: channel.progress('x' * 50_000)\n"
        "    except KeyboardInterrupt:\n"
        "        channel.send({'number': request['number'], 'done': False})\n"
    )
    for number in range(30):
        process.send(number=number)
        while process.next() != {"number": number, "progress": "x" * 50_000}:
            pass
        process.send(interrupt=number)
        while "progress" in (message := process.next()):
            assert len(message["progress"]) == 50_000
        assert message == {"number": number, "done": False}


def test_a_request_ends_when_nobody_is_there_to_hear_of_it(start: Any) -> None:
    process = start(ECHO)
    process.send(number=1, slow=True)
    assert process.next() == {"number": 1, "progress": "begun"}
    assert process.end()[0] == 0


def test_bytes_that_are_no_request_end_it(start: Any) -> None:
    process = start(ECHO)
    process.process.stdin.write(b"\0\0\0\5hello")
    assert process.process.wait(20) == 0
    assert "what is no request" in process.process.stderr.read().decode()
