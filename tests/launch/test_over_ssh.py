from __future__ import annotations

import shlex
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from forge.base.errors import ToolError, UsageError
from forge.launch.over_ssh import line_there, run_there

if TYPE_CHECKING:
    from pathlib import Path

HOSTILE = ["control", "set", "a b", "$(touch x)", "'\"", "--lines=1"]


def test_the_words_arrive_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "a python"
    program.write_text('#!/bin/sh\npwd\nprintf "%s\\n" "$@"\n')
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    command = line_there("dave@hal", HOSTILE, str(tmp_path))
    assert command[:2] == ["ssh", "-T"]
    assert command[-2] == "dave@hal"
    done = subprocess.run(["sh", "-c", command[-1]], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [str(tmp_path), "-m", "forge", *HOSTILE]


def test_without_that_interpreter_the_forge_there_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "forge").write_text('#!/bin/sh\necho "$@"\n')
    (tmp_path / "forge").chmod(0o755)
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    line = line_there("hal", ["jobs"], "/no/such/folder")[-1]
    done = subprocess.run(
        ["/bin/sh", "-c", line], env={"PATH": f"{tmp_path}:/bin:/usr/bin"}, capture_output=True, text=True, check=True
    )
    assert done.stdout == "jobs\n"


def test_what_is_drawn_gets_a_terminal() -> None:
    command = line_there("hal", ["jobs"], "/", terminal=True)
    assert "-T" not in command
    assert command[-3:-1] == ["-t", "hal"]
    assert shlex.join(command).startswith("ssh -o BatchMode=yes")


@pytest.mark.parametrize("host", ["", "-oProxyCommand=x", "a b"])
def test_what_is_no_host_is_refused(host: str) -> None:
    with pytest.raises(UsageError, match="is no host"):
        line_there(host, ["jobs"], "/")


def test_a_host_that_is_not_reached_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ssh").write_text("#!/bin/sh\nexit 255\n")
    (tmp_path / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    with pytest.raises(ToolError, match="ssh does not reach hal"):
        run_there("hal", ["jobs"], "/")
    monkeypatch.setenv("PATH", "/no/such/folder")
    with pytest.raises(ToolError, match="ssh is not here"):
        run_there("hal", ["jobs"], "/")
