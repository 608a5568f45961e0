"""A small project as an editor has it open; ``‸`` in a text is where the cursor is."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest

from forge.lsp.desk import Desk

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CODE = '''\
"""Code of the project."""

raise SystemExit("a file that is read must not run")


class Runner:
    """Runs things.

    More about it.
    """

    def __init__(self, size: int, *, mode: "Literal['fast', 'slow']" = "fast", deep: bool = False) -> None: ...
'''
RUN = """\
defaults:
  - tiny
  - override size: large
  - _self_
meta: {description: Run it.}
runner:
  _target_: demo_code.Runner
  size: ${size.dim}
  mode: slow
trainer:
  max_steps: 7
"""


class Spot(NamedTuple):
    """A text and a position in it, counted from 0."""

    text: str
    line: int
    column: int


@pytest.fixture
def demo(project: Path) -> Path:
    """The project with code of its own, which would end the process that imports it."""
    (project / "src").mkdir()
    (project / "src" / "demo_code.py").write_text(CODE)
    (project / "configs" / "run.yaml").write_text(RUN)
    return project


@pytest.fixture
def desk(demo: Path) -> Desk:
    """What the language server knows with that project open."""
    return Desk([str(demo)])


@pytest.fixture
def spot() -> Callable[[str], Spot]:
    """``spot("a: ‸b")`` is the text without the mark, and where the mark was."""

    def find(text: str) -> Spot:
        before, after = text.split("‸")
        lines = before.split("\n")
        return Spot(before + after, len(lines) - 1, len(lines[-1]))

    return find
