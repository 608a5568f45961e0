"""A run goes on when nobody reads what it says."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from forge.ml.train.unheard import UnheardStream

if TYPE_CHECKING:
    from pathlib import Path

SPEAKS = """\
import sys
from forge.ml.train.unheard import speak_unheard
speak_unheard()
sys.stderr.write("first\\n")
sys.stdin.readline()
for _ in range(3):
    print("more" * 100_000)
    sys.stderr.write("more" * 100_000)
open(sys.argv[1], "w").write("reached")
"""

# Closed like by a shell's `>&-`; the file that is opened next must not be what other languages print into.
CLOSED = """\
import os, sys
from forge.ml.train.unheard import speak_unheard
speak_unheard()
with open(sys.argv[1], "w") as file:
    print("lost")
    sys.stderr.write("lost")
    os.system("echo lost; echo lost >&2")
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    file.write(f"reached with number {file.fileno()}")
"""


def test_what_is_heard_arrives_at_once() -> None:
    heard = io.TextIOWrapper(io.BytesIO(), write_through=False)
    stream = UnheardStream(heard)
    assert stream.write("a line\n") == 7
    assert heard.buffer.getvalue() == b"a line\n"  # type: ignore[attr-defined]
    assert stream.isatty() is False
    assert stream.encoding == heard.encoding


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EPIPE])
def test_an_error_of_the_stream_is_the_last_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    class Failing(io.TextIOWrapper):
        def flush(self) -> None:
            raise OSError(code, os.strerror(code))

    file = (tmp_path / "log").open("wb")
    stream = UnheardStream(failing := Failing(file))
    assert stream.write("lost") == 4
    assert os.fstat(file.fileno()).st_rdev == os.stat(os.devnull).st_rdev
    monkeypatch.setattr(Failing, "flush", io.TextIOWrapper.flush)
    assert stream.write("as well") == 7
    failing.close()
    assert (tmp_path / "log").read_bytes() == b""


def test_a_process_whose_reader_leaves_reaches_its_end(tmp_path: Path) -> None:
    words = [sys.executable, "-c", SPEAKS, str(tmp_path / "end")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(words, **pipes) as process:  # type: ignore[call-overload]
        assert process.stderr.readline() == b"first\n"
        process.stderr.close()
        process.stdout.close()
        process.stdin.write(b"go on\n")
        process.stdin.close()
        assert process.wait(60) == 0
    assert (tmp_path / "end").read_text() == "reached"


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_streams_lead_nowhere_and_give_their_numbers_to_no_file(tmp_path: Path, closed: str) -> None:
    path = tmp_path / "end"
    done = subprocess.run(
        ["sh", "-c", f'exec "$0" -c "$1" "$2" {closed}', sys.executable, CLOSED, str(path)],
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said, number = path.read_text().rsplit(" ", 1)
    assert said == "reached with number"
    assert int(number) > 2
