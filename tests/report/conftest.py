"""Runs of the past, made of the files that a run leaves."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import pytest

from forge.control.progress import RunProgress, write_progress
from forge.control.register import register
from forge.report.folders import named_run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import TypeAlias

    from forge.control.known import KnownJob

    Past: TypeAlias = Callable[..., KnownJob]
    Steps: TypeAlias = Callable[..., list[dict[str, Any]]]


def _steps(count: int, *, lr: float = 1e-3) -> list[dict[str, Any]]:
    return [
        {
            "step": step,
            "loss": 2 + math.exp(-step / 10),
            "grad_norm": None if step == 1 else 1 / step,
            "lr": lr,
            "tokens": 100 * step,
            "tokens_per_second": 1000.0 + step,
            "seconds": {"data": 0.1, "forward": 0.3, "backward": 0.6},
            "memory": 1_000_000 * step,
        }
        for step in range(1, count + 1)
    ]


@pytest.fixture
def steps() -> Steps:
    """The lines of so many steps."""
    return _steps


@pytest.fixture(autouse=True)
def _own_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORGE_DATA_HOME", str(tmp_path / "data"))


@pytest.fixture
def past(project: Path, environment: dict[str, str], tmp_path: Path) -> Past:
    """Makes a run of the small project in the output folder ``out``, which has ended unless its code is None."""
    import forge

    assert environment

    def make(
        *overrides: str,
        output: str = "out",
        name: str = "",
        code: int | None = 0,
        lines: list[dict[str, Any]] | None = None,
    ) -> KnownJob:
        runs = tmp_path / output / "runs"
        folder = runs / (name or f"20260101-00000{len(list(runs.glob('*')))}-tiny")
        forge.open(project).config("tiny", *overrides).freeze(folder)
        lines = _steps(20) if lines is None else lines
        (folder / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
        trained = [line for line in lines if "loss" in line]
        loss = trained[-1]["loss"] if trained else None
        write_progress(str(folder), RunProgress(trained[-1]["step"] if trained else 0, 20, loss, 1000.0))
        job = register(config="tiny", project="demo", overrides=overrides, run_folder=str(folder))
        if code is not None:
            job.ended(code)
        return named_run(str(folder), [])

    return make
