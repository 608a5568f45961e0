"""The completion scripts in the shells they are for, at a real terminal."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import signal
import sys
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

START = {
    "bash": ["bash", "--norc", "--noprofile", "-i"],
    "zsh": ["zsh", "-f", "-i"],
    "fish": ["fish", "-i"],
}
LOAD = {
    "bash": 'PS1="ready> "; bind "set show-all-if-ambiguous on"; eval "$(forge completion bash)"; echo LOA""DED',
    "zsh": 'PS1="ready> "; autoload -U compinit; compinit -u -D; eval "$(forge completion zsh)"; echo LOA""DED',
    "fish": 'forge completion fish | source; echo LOA""DED',
}


_ESCAPES = re.compile(r"\x1b(?:\[[0-9;?]*[A-Za-z]|\][^\x07]*\x07|\(B)")


class Terminal:
    """A shell behind a pseudo-terminal: type keys, wait for a text."""

    def __init__(self, command: list[str], folder: Path, environment: dict[str, str]) -> None:
        self.child, self.master = pty.fork()  # gives the shell a controlling terminal, which fish insists on
        if not self.child:
            os.chdir(folder)
            os.execvpe(command[0], command, environment)  # noqa: S606 - a shell is what is tested
        self.seen = ""

    def type(self, keys: str) -> None:
        os.write(self.master, keys.encode())

    def wait_for(self, text: str, seconds: float = 20) -> str:
        end = time.monotonic() + seconds
        while text not in self.seen:
            ready, _, _ = select.select([self.master], [], [], max(0.0, end - time.monotonic()))
            assert ready, f"no {text!r} in {self.seen!r}"
            data = os.read(self.master, 65536).decode(errors="replace")
            if "\x1b[c" in data or "\x1b[0c" in data:  # fish asks what terminal this is, and waits for the answer
                self.type("\x1b[?62;c")
            self.seen += _ESCAPES.sub("", data)
        found, self.seen = self.seen, ""
        return found

    def close(self) -> None:
        os.kill(self.child, signal.SIGKILL)
        os.waitpid(self.child, 0)
        os.close(self.master)


@pytest.fixture
def shell(project: Path, tmp_path: Path, environment: dict[str, str]) -> Iterator[Callable[[str], Terminal]]:
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "forge"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m forge "$@"\n')
    program.chmod(0o755)
    home = tmp_path / "home"
    home.mkdir()
    environment = {**environment, "PATH": f"{folder}:{os.environ['PATH']}", "TERM": "xterm", "HOME": str(home)}
    environment["FISH_UNIT_TESTS_RUNNING"] = (
        "1"  # else it reads every manual page of the machine, for a minute, behind our back
    )
    opened: list[Terminal] = []

    def start(name: str) -> Terminal:
        if shutil.which(name) is None:
            pytest.skip(f"{name} is not installed")
        terminal = Terminal(START[name], project, environment)
        opened.append(terminal)
        terminal.type(LOAD[name] + "\n")
        terminal.wait_for("LOADED")
        return terminal

    yield start
    for terminal in opened:
        terminal.close()


@pytest.mark.parametrize("name", START)
def test_a_verb_is_completed(shell: Callable[[str], Terminal], name: str) -> None:
    terminal = shell(name)
    terminal.type("forge tre\t--format=files\n")
    assert "configs/size/small.yaml" in terminal.wait_for("small.yaml")


@pytest.mark.parametrize("name", START)
def test_a_config_behind_the_flag_is_completed(shell: Callable[[str], Terminal], name: str) -> None:
    terminal = shell(name)
    terminal.type("forge -t oth\tshow --path trainer.max_steps\n")
    terminal.wait_for("200")


@pytest.mark.parametrize("name", START)
def test_a_choice_of_a_group_is_completed_behind_the_equals_sign(shell: Callable[[str], Terminal], name: str) -> None:
    terminal = shell(name)
    terminal.type("forge show size=lar\t --path size.dim\n")
    terminal.wait_for("800")


@pytest.mark.parametrize("name", START)
def test_keys_are_completed_one_step_at_a_time_without_a_blank(shell: Callable[[str], Terminal], name: str) -> None:
    terminal = shell(name)
    terminal.type("forge show traine\tmax_\t77 --path trainer.max_steps --json\n")
    terminal.wait_for("77\r\n")


@pytest.mark.parametrize("name", START)
def test_the_configs_own_flags_are_listed(shell: Callable[[str], Terminal], name: str) -> None:
    terminal = shell(name)
    terminal.type("forge show --m\t\t")
    assert "--max-steps" in terminal.wait_for("--mode")


@pytest.mark.parametrize("name", START)
def test_files_are_completed_by_the_shell(shell: Callable[[str], Terminal], name: str) -> None:
    terminal = shell(name)
    terminal.type("forge show -o READ\t")
    terminal.wait_for("README.md")
