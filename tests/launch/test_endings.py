"""Runs of several processes that are done end with 0, all of them: nothing of theirs is left, and no library has the last word."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from clusters import endings_of

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.torch, pytest.mark.slow]
COUNT = 200 if os.environ.get("FORGE_FULL") else 2


@pytest.mark.timeout(3600)
def test_every_run_ends_well(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from small_run import freeze, make_project

    project = make_project(tmp_path / "small")
    overrides = ("trainer.max_steps=2", "trainer.eval_strategy=no", "parallel=fsdp")
    runs = [
        freeze(project, str(number), f"trainer.output_dir={project}/out/{number}", *overrides)
        for number in range(COUNT)
    ]
    assert endings_of(runs, 2) == [[0, 0]] * COUNT
    for number in range(COUNT):
        assert (project / "out" / str(number) / "model.safetensors").exists()
