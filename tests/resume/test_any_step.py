"""A run that was stopped at any step and resumed is the run that never stopped, to the last bit."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import pytest

sys.path.insert(0, os.path.dirname(__file__))

pytestmark = [pytest.mark.torch, pytest.mark.slow]
torch = pytest.importorskip("torch")

from small_run import STEPS, Interrupt, Seen, carry_out, freeze, make_project  # noqa: E402 - torch may be missing

if TYPE_CHECKING:
    from pathlib import Path

FULL = bool(os.environ.get("FORGE_FULL"))
# Each eighth step has an evaluation behind it, and so has the last one; an epoch ends in some of the steps.
STOPS = range(1, STEPS + 1) if FULL else (1, 2, 8, 15, 16, 17, 24, 31, 40, 47, 49, 50)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_project(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="module")
def whole(project: Path) -> tuple[dict[str, Any], dict[int, Any]]:
    """The end of the run that never stopped, and the examples of each of its steps."""
    seen = Seen()
    run = carry_out(freeze(project, "whole", f"trainer.output_dir={project}/whole"), seen)
    assert run.step == STEPS
    assert run.epoch > 2
    return _end(run), seen.ids


def _end(run: Any) -> dict[str, Any]:
    from forge.ml.checkpoint.state import random_state

    return {
        "weights": {name: tensor.clone() for name, tensor in run.model.state_dict().items()},
        "optimizer": run.optimizer.state_dict(),
        "random": random_state(),
        "loader": run.loader.state(),
        "counts": (run.counts.step, run.counts.tokens, run.counts.trained_tokens, run.counts.evaluated_step),
        "best": (run.best.step, run.best.loss),
    }


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(value, other[key]) for key, value in one.items())
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)


@pytest.mark.parametrize("step", STOPS)
def test_stopped_and_resumed(project: Path, whole: tuple[dict[str, Any], dict[int, Any]], step: int) -> None:
    moment = "evaluation" if step % 8 == 0 else "middle" if step % 2 else "after"
    output = f"trainer.output_dir={project}/stop-{step}"
    seen = Seen()
    stopped = carry_out(freeze(project, f"stop-{step}", output), Interrupt(step, moment), seen)
    assert stopped.step == step
    assert stopped.stopping.interrupted
    if moment == "evaluation":
        assert stopped.counts.evaluated_step == step - 8
    resumed = carry_out(freeze(project, f"resume-{step}", output, "trainer.resume_from_checkpoint=auto"), seen)
    assert resumed.step == STEPS
    end, ids = whole
    assert seen.ids == ids
    found = _end(resumed)
    assert [key for key in end if not _same(end[key], found[key])] == []


def test_resumed_again_and_again(project: Path, whole: tuple[dict[str, Any], dict[int, Any]]) -> None:
    output = f"trainer.output_dir={project}/again"
    overrides = [output]
    for step in (3, 11, 12, 30):
        run = carry_out(freeze(project, f"again-{step}", *overrides), Interrupt(step, "after"))
        assert run.step == step
        overrides = [output, "trainer.resume_from_checkpoint=auto"]
    run = carry_out(freeze(project, "again-last", *overrides))
    end, found = whole[0], _end(run)
    assert [key for key in end if not _same(end[key], found[key])] == []


def test_a_resume_that_draws_other_random_numbers_would_be_seen(
    project: Path, whole: tuple[dict[str, Any], dict[int, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    output = f"trainer.output_dir={project}/forgets"
    carry_out(freeze(project, "forgets-1", output), Interrupt(5, "after"))
    monkeypatch.setattr("forge.ml.parallel.world.World.seed", lambda self, seed, step: seed)  # noqa: ARG005 - as it is called
    run = carry_out(freeze(project, "forgets-2", output, "trainer.resume_from_checkpoint=auto"))
    assert not _same(whole[0]["weights"], _end(run)["weights"])
