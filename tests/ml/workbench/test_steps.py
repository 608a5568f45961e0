"""The first steps of a run are what a run takes, and leave nothing behind."""

from __future__ import annotations

import json
import math
import os
from typing import TYPE_CHECKING, Any

import pytest

pytestmark = pytest.mark.torch
pytest.importorskip("torch")

from small_run import carry_out  # noqa: E402 - torch may be missing

from forge.base.errors import RunError  # noqa: E402 - as above
from forge.ml.workbench.steps import try_steps  # noqa: E402 - as above

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def steps(run: str, count: int = 1) -> dict[str, Any]:
    outcome = try_steps(lambda _: None, run=run, count=count, as_json=True)
    assert outcome.error == ""
    return json.loads(outcome.text)


def test_they_are_the_first_steps_of_the_run(freeze: Callable[..., str]) -> None:
    short = ("trainer.max_steps=3", "trainer.logging_steps=1", "trainer.eval_strategy=no", "trainer.save_strategy=no")
    run = carry_out(freeze(*short))
    with open(os.path.join(run.folder, "metrics.jsonl"), encoding="utf-8") as file:
        expected = [json.loads(line) for line in file]
    for _ in range(2):  # also in a process that has taken steps before
        found = steps(freeze(*short), 3)["steps"]
        for name in ("step", "loss", "grad_norm", "lr", "tokens"):
            assert [one[name] for one in found] == [one[name] for one in expected]


def test_nothing_is_left_behind(freeze: Callable[..., str], tmp_path: Path) -> None:
    folder = freeze("logging=tensorboard", "trainer.save_steps=1", "callback=[nonfinite]")
    found = steps(folder, 2)
    assert [one["step"] for one in found["steps"]] == [1, 2]
    assert not (tmp_path / "out").exists()
    assert not os.path.exists(os.path.join(folder, "output"))


def test_it_ends_where_the_run_does(freeze: Callable[..., str]) -> None:
    assert len(steps(freeze("trainer.max_steps=2"), 5)["steps"]) == 2


def test_where_the_time_and_the_memory_went(freeze: Callable[..., str]) -> None:
    told: list[str] = []
    found = steps(freeze())
    seconds = found["steps"][0]["seconds"]
    assert min(seconds[part] for part in ("forward", "backward", "optimizer")) > 0
    assert 50e6 < found["peak_memory"] < 20e9
    text = try_steps(told.append, run=freeze(), count=2, as_json=False).text.splitlines()
    assert text[0].split()[:2] == ["step", "loss"]
    assert text[1].split()[1] == f"{found['steps'][0]['loss']:.4f}"
    assert "peak memory" in text[3]
    assert text[4].startswith("50 steps at the speed of the last one: ")
    assert "step 2 of 2" in told


def test_the_peak_is_that_of_the_step(freeze: Callable[..., str]) -> None:
    if not os.path.exists("/proc/self/clear_refs"):
        pytest.skip("only Linux forgets the peak of a process")
    before = steps(freeze())["peak_memory"]
    big = b"x" * (1 << 29)
    del big
    assert steps(freeze())["peak_memory"] < before + 250e6


def test_a_loss_that_is_no_number_is_a_failure(freeze: Callable[..., str]) -> None:
    wild = ("optimizer.lr=1e38", "trainer.max_grad_norm=null")
    outcome = try_steps(print, run=freeze(*wild), count=4, as_json=True)
    assert outcome.code == 1
    assert not math.isfinite(float(json.loads(outcome.text)["steps"][-1]["loss_text"]))
    watched = try_steps(print, run=freeze(*wild, "callback=[nonfinite]"), count=4, as_json=False)
    assert watched.code == 1
    assert "the loss is" in watched.error
    assert watched.text.startswith("step")


def test_what_does_not_fit_the_run_is_refused(freeze: Callable[..., str]) -> None:
    with pytest.raises(RunError, match="early stopping needs evaluations"):
        try_steps(print, run=freeze("callback=early_stopping", "trainer.eval_strategy=no"), count=1, as_json=False)
