"""Shells in real terminals, each with a user of its own."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, TypeAlias

import pytest

sys.path.insert(0, os.path.dirname(__file__))
from screens import Terminal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

Open: TypeAlias = "Callable[..., Terminal]"

_FORGE = (sys.executable, "-m", "forge")


@pytest.fixture
def user(environment: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """The environment of somebody at a terminal with colours."""
    (tmp_path / "home").mkdir(exist_ok=True)
    left_out = ("NO_COLOR", "COLUMNS", "LINES", "LESS", "PAGER", "LC_ALL", "PYTEST_CURRENT_TEST")
    kept = {name: value for name, value in environment.items() if name not in left_out}
    return {**kept, "TERM": "xterm-256color", "LANG": "C.UTF-8", "OMP_NUM_THREADS": "1"}


@pytest.fixture
def opened(project: Path, user: dict[str, str]) -> Iterator[Open]:
    """``opened("-t", "other", columns=60, NO_COLOR="1")`` is a shell whose prompt is there."""
    with ExitStack() as terminals:

        def open_shell(
            *words: str,
            folder: Path | None = None,
            columns: int = 80,
            lines: int = 24,
            command: tuple[str, ...] = _FORGE,
            **changes: str,
        ) -> Terminal:
            terminal = Terminal(
                [*command, *words, "-i"], folder or project, {**user, **changes}, columns=columns, lines=lines
            )
            return terminals.enter_context(terminal).prompt()

        yield open_shell
