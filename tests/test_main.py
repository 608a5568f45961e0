from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import forge.__main__

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_the_command_hands_its_words_on_and_ends_with_the_exit_code(
    monkeypatch: pytest.MonkeyPatch, project: Path
) -> None:
    codes = []
    monkeypatch.chdir(project)
    monkeypatch.setattr(sys, "exit", codes.append)
    for words in (["ls"], ["shwo"], ["-c", "show --path mode; exit"], ["-c", "shwo"]):
        monkeypatch.setattr(sys, "argv", ["forge", *words])
        forge.__main__.entry()
    assert codes == [0, 2, 0, 2]


def test_without_a_terminal_no_shell_is_opened(project: Path, environment: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "forge"],
        cwd=project,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("usage: forge")
