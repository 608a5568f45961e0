"""A shell in the small project, its lines run in this process."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import pytest

from forge.cli.output import standard_output
from forge.shell.app import run_text
from forge.shell.state import ShellSession

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Say: TypeAlias = "Callable[[str], tuple[int, str, str]]"


@pytest.fixture
def shell(
    project: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> ShellSession:
    """A shell that was started in the project."""
    assert environment["NO_COLOR"]
    assert capsys
    monkeypatch.chdir(project)
    return ShellSession()


@pytest.fixture
def say(shell: ShellSession, capsys: pytest.CaptureFixture[str]) -> Callable[[str], tuple[int, str, str]]:
    """``say("config other; show")`` gives the exit code, the output and the messages of a line."""

    def run(text: str) -> tuple[int, str, str]:
        capsys.readouterr()
        shell.output = standard_output()
        code = run_text(shell, text)
        shell.output.flush()
        return (code, *capsys.readouterr())

    return run
