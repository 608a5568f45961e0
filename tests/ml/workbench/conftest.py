"""A small real run, frozen for the workbench."""

from __future__ import annotations

import os
import sys
from itertools import count
from typing import TYPE_CHECKING

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "..", "resume"))

from small_run import make_project

import forge

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with the config ``run``."""
    pytest.importorskip("transformers")
    return make_project(tmp_path_factory.mktemp("small"))


@pytest.fixture
def freeze(small: Path, tmp_path: Path) -> Callable[..., str]:
    """Freezes the config, changed by overrides, or one part of it."""
    numbers = count()

    def frozen(*overrides: str, part: str | None = None) -> str:
        folder = str(tmp_path / "frozen" / str(next(numbers)))
        forge.open(small).config("run", f"trainer.output_dir={tmp_path}/out", *overrides).freeze(folder, part)
        return folder

    return frozen
