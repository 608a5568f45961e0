"""A run in progress."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

from forge.ml.train.run import Best, Run  # noqa: E402 - torch may be missing
from forge.ml.train.stopping import Stopping  # noqa: E402 - as above

if TYPE_CHECKING:
    from collections.abc import Callable


def bare(step: int = 0, total: int = 10, **parts: Any) -> Run:
    """A run of nothing but how far it is."""
    names = [name for name, field in Run.__dataclass_fields__.items() if field.default_factory.__class__ is not type]
    empty = dict.fromkeys(name for name in names if name not in ("counts", "best", "batch"))
    run = Run(**{**empty, "total_steps": total, "stopping": Stopping(), "callbacks": [], **parts})
    run.counts.step = step
    return run


def test_the_lower_loss_is_the_better_one() -> None:
    best = Best()
    assert best.offer(3.0, 1)
    assert not best.offer(3.0, 2)
    assert best.offer(2.0, 3)
    assert not best.offer(2.5, 4)
    assert (best.loss, best.step) == (2.0, 3)


def test_what_is_no_number_is_never_the_best() -> None:
    best = Best()
    assert not best.offer(math.nan, 1)
    assert best.loss is None
    assert best.offer(5.0, 2)
    assert not best.offer(math.nan, 3)
    assert best.offer(4.0, 4)


def test_finished_by_its_last_step_or_by_a_callback_and_not_by_an_interruption() -> None:
    assert bare(10).finished
    assert not bare(9).finished
    run = bare(3)
    run.stop("it is good enough")
    assert run.finished
    assert not run.interrupted
    run = bare(3)
    run.stopping.interrupt("SIGTERM")
    assert not run.finished
    assert run.interrupted


def test_an_interruption_comes_before_what_a_callback_wants() -> None:
    run = bare(3)
    run.stop("it is good enough")
    run.stopping.interrupt("SIGTERM")
    assert run.interrupted
    assert not run.finished


def test_every_callback_is_told() -> None:
    told: list[Any] = []
    run = bare(callbacks=[SimpleNamespace(after_step=lambda *what: told.append(what)) for _ in range(2)])
    run.tell("after_step", {"step": 1})
    assert told == [(run, {"step": 1})] * 2


def test_the_epoch_is_what_the_loader_says() -> None:
    assert bare(loader=SimpleNamespace(epoch=1.5)).epoch == 1.5


def test_the_memory_of_a_run_on_a_cpu_is_that_of_its_process() -> None:
    run = bare(device=torch.device("cpu"))
    before = run.peak_memory()
    assert before > 1 << 20
    held = torch.ones(50_000_000)
    assert run.peak_memory() >= before
    assert held.nbytes < run.peak_memory() < 1 << 40


def test_what_a_run_holds_is_given_back(made: Callable[..., Run]) -> None:
    from forge.ml.checkpoint.store import Store

    run = made("trainer.save_steps=2")
    run.close()
    other = Store(run.saver.store.folder)
    other.claim()
    other.release()
    run.close()  # again, which does nothing
