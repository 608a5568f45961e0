from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from forge.base.errors import FileError, UsageError
from forge.cli.output import Output, drop_stream, standard_output

if TYPE_CHECKING:
    from pathlib import Path
    from typing import TextIO

    from conftest import Forge


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def lines(stream: TextIO) -> str:
    assert isinstance(stream, io.StringIO)
    return stream.getvalue()


def test_a_text_ends_with_one_newline() -> None:
    output = Output(io.StringIO(), io.StringIO())
    output.write("a")
    output.write("b\n")
    assert lines(output.stream) == "a\nb\n"


def test_a_message_goes_to_the_other_stream() -> None:
    output = Output(io.StringIO(), io.StringIO())
    output.error(UsageError("that is wrong", hint="do this"))
    assert lines(output.stream) == ""
    assert lines(output.errors) == "error: that is wrong\n  do this\n"


@pytest.mark.parametrize("suffix", [".yaml", ".py", ".json", ".diff"])
def test_colours_are_put_around_a_text_and_change_nothing_in_it(suffix: str) -> None:
    output = Output(Terminal(), io.StringIO(), colour=True)
    text = "\n\na: [1, 'two']  # three\n\tb\n\n+ c\n"
    output.write(text, suffix)
    assert re.sub(r"\x1b\[[\d;]*m", "", lines(output.stream)) == text
    assert "\x1b[" in lines(output.stream)


def test_a_text_of_another_kind_gets_no_colours() -> None:
    output = Output(Terminal(), io.StringIO(), colour=True)
    output.write("a: 1", ".txt")
    assert lines(output.stream) == "a: 1\n"


def test_an_error_is_red_where_colours_are_wanted() -> None:
    output = Output(io.StringIO(), Terminal(), error_colour=True)
    output.error(UsageError("no"))
    assert lines(output.errors) == "\x1b[31merror:\x1b[0m no\n"


def test_a_terminal_is_not_steered_by_what_a_config_holds() -> None:
    output = Output(Terminal(), Terminal())
    output.write("\x1b]0;title\x07 \x1b[2J \x9b2J \r over \x1b[31mred\x1b[0m\tü")
    output.note("\x1b]0;title\x07")
    assert lines(output.stream) == "\\x1b]0;title\\x07 \\x1b[2J \\x9b2J \\x0d over \x1b[31mred\x1b[0m\tü\n"
    assert lines(output.errors) == "\\x1b]0;title\\x07\n"


def test_a_pipe_gets_the_bytes_as_they_are() -> None:
    output = Output(io.StringIO(), io.StringIO())
    output.write("\x1b]0;title\x07")
    assert lines(output.stream) == "\x1b]0;title\x07\n"


def test_a_very_long_message_keeps_its_ends() -> None:
    output = Output(io.StringIO(), io.StringIO())
    output.error(UsageError(f"there is no {'x' * 100_000} here", hint="y"))
    first, second = lines(output.errors).splitlines()
    assert len(first) < 1000
    assert first.startswith("error: there is no xxx")
    assert first.endswith("xxx here")
    assert second == "  y"


@pytest.mark.parametrize(
    ("environ", "colour"),
    [
        ({"TERM": "xterm"}, True),
        ({"TERM": "xterm", "NO_COLOR": ""}, True),
        ({"TERM": "xterm", "NO_COLOR": "1"}, False),
        ({"TERM": "dumb"}, False),
        ({}, False),
    ],
)
def test_a_terminal_gets_colours_unless_it_is_asked_not_to(
    environ: dict[str, str], colour: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout", Terminal())
    monkeypatch.setattr("sys.stderr", io.StringIO())
    output = standard_output(environ)
    assert output.colour is colour
    assert not output.error_colour


def test_streams_that_are_closed_drop_what_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", None)
    monkeypatch.setattr("sys.stderr", None)
    output = standard_output()
    output.write("a")
    output.note("b")
    output.flush()
    assert (output.colour, output.error_colour) == (False, False)
    output.stream.close()
    output.errors.close()


def test_a_full_device_is_an_error_and_does_no_harm_later() -> None:
    with open("/dev/full", "w") as full:
        output = Output(full, io.StringIO())
        output.write("a" * 100)
        with pytest.raises(FileError, match="cannot write the output: No space left"):
            output.flush()


def test_messages_that_cannot_be_written_are_dropped() -> None:
    with open("/dev/full", "w") as full:
        Output(io.StringIO(), full).note("a")


def test_a_stream_in_memory_cannot_be_dropped_and_that_is_fine() -> None:
    stream = io.StringIO()
    drop_stream(stream)
    stream.write("still here")


def test_a_real_terminal_gets_colours_and_a_pipe_does_not(project: Path, environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", "forge", "show"]
    environment = {**environment, "TERM": "xterm"}
    environment.pop("NO_COLOR")
    master, slave = pty.openpty()
    subprocess.run(command, cwd=project, env=environment, stdout=slave, check=True)
    os.close(slave)
    text = os.read(master, 65536).decode()
    os.close(master)
    assert "\x1b[" in text
    piped = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=True)
    assert "\x1b[" not in piped.stdout


@pytest.mark.parametrize("places", [">/dev/full", "2>/dev/full >/dev/full"])
@pytest.mark.parametrize("words", ["show", "--help", "shwo"])
def test_a_full_disk_is_exit_code_2(project: Path, environment: dict[str, str], words: str, places: str) -> None:
    done = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m forge {words} {places}"],
        cwd=project,
        env=environment,
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) <= 2
    if places == ">/dev/full" and words != "shwo":
        assert done.stderr == "error: cannot write the output: No space left on device\n"


@pytest.mark.parametrize(
    ("words", "code"), [("show", 0), ("show --help", 0), ("shwo", 2), ("-p nosuch ls", 2), ("diff mode=slow", 1)]
)
def test_closed_streams_do_no_harm(project: Path, environment: dict[str, str], words: str, code: int) -> None:
    for places in (">&- 2>&- <&-", ">&-", "2>&-"):
        command = f"{sys.executable} -m forge {words} {places}"
        done = subprocess.run(["sh", "-c", command], cwd=project, env=environment, capture_output=True, check=False)
        assert done.returncode == code
        assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("words", [["show"], ["graph", "--format", "html"], ["ls"], ["--help"]], ids=" ".join)
def test_a_closed_pipe_is_silent(project: Path, environment: dict[str, str], words: list[str]) -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "forge", *words],
        cwd=project,
        env=environment,
        stdout=write,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(write)
    assert done.stderr == b""
    assert done.returncode == 141


def test_errors_into_a_closed_pipe_keep_the_exit_code(project: Path, environment: dict[str, str]) -> None:
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "forge", "shwo"]
    done = subprocess.run(command, cwd=project, env=environment, stderr=write, check=False)
    os.close(write)
    assert done.returncode == 2


@pytest.mark.parametrize(
    "encoding", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}]
)
def test_a_terminal_that_knows_no_unicode_gets_question_marks(forge: Forge, encoding: dict[str, str]) -> None:
    done = forge("graph", **encoding)
    assert (done.returncode, done.stderr) == (0, "")
    assert "?" in done.stdout


def test_a_file_is_utf8_in_every_locale(forge: Forge, project: Path) -> None:
    assert forge("graph", "-o", "graph.txt", LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0").returncode == 0
    assert "├─ size" in (project / "graph.txt").read_text(encoding="utf-8")
