from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

from forge.base.errors import ToolError
from forge.cli.opener import find_opener, open_in_background

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def program(tmp_path: Path) -> Callable[..., Path]:
    """Makes programs that open a pipe, so that a test can wait for them, and write down how they were called."""
    (tmp_path / "bin").mkdir()
    os.mkfifo(tmp_path / "called")

    def make(name: str) -> Path:
        path = tmp_path / "bin" / name
        path.write_text(f'#!/bin/sh\nprintf "%s\\n" "$0" "$@" > {tmp_path}/called\n')
        path.chmod(0o755)
        return path

    return make


def environ(tmp_path: Path, **more: str) -> dict[str, str]:
    return {"PATH": f"{tmp_path}/bin:/usr/bin:/bin", "HOME": str(tmp_path), **more}


@pytest.mark.parametrize("display", ["DISPLAY", "WAYLAND_DISPLAY"])
def test_the_desktops_program_is_started_and_not_waited_for(
    tmp_path: Path, program: Callable[..., Path], display: str
) -> None:
    opener = program("xdg-open")
    picture = tmp_path / "a picture.svg"
    began = time.monotonic()
    open_in_background(str(picture), environ(tmp_path, **{display: ":0"}))  # it waits for a reader of its pipe
    assert time.monotonic() - began < 5
    assert (tmp_path / "called").read_text().splitlines() == [str(opener), str(picture)]


def test_inside_vs_code_it_is_a_tab_there(tmp_path: Path, program: Callable[..., Path]) -> None:
    code = program("code")
    open_in_background(str(tmp_path / "x.svg"), environ(tmp_path, TERM_PROGRAM="vscode"))
    assert (tmp_path / "called").read_text().splitlines() == [str(code), "--reuse-window", str(tmp_path / "x.svg")]


def test_a_mac_has_its_own_program_and_always_a_display(tmp_path: Path, program: Callable[..., Path]) -> None:
    opener = program("open")
    assert find_opener(environ(tmp_path), "darwin").command == (str(opener),)


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({}, "there is no display"),
        ({"DISPLAY": ""}, "there is no display"),
        ({"DISPLAY": ":0", "PATH": "/nosuch"}, "there is no program xdg-open"),
    ],
)
def test_where_nothing_can_be_opened_it_is_said(tmp_path: Path, more: dict[str, str], reason: str) -> None:
    with pytest.raises(ToolError, match=reason):
        find_opener(environ(tmp_path, **more), "linux")


def test_a_program_that_cannot_be_started_is_said(tmp_path: Path, program: Callable[..., Path]) -> None:
    program("xdg-open").write_text("#!/nosuch/interpreter\n")
    with pytest.raises(ToolError, match="xdg-open cannot be started"):
        open_in_background("x.svg", environ(tmp_path, DISPLAY=":0"))
