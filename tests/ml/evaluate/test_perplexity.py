"""The loss of held-out data."""

from __future__ import annotations

import contextlib
import math
from types import SimpleNamespace
from typing import Any

import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
perplexity = pytest.importorskip("forge.ml.evaluate.perplexity")
from forge.ml.data.batch import Batch  # noqa: E402 - behind the question whether torch is there

PRECISION: Any = SimpleNamespace(autocast=contextlib.nullcontext)


class Loss:
    """The loss of a token is its number."""

    def __init__(self) -> None:
        self.model = torch.nn.Dropout(0.5)
        self.calls = 0

    def total(self, batch: Batch) -> Any:
        assert not self.model.training
        assert not torch.is_grad_enabled()
        self.calls += 1
        return batch.targets.clamp(min=0).sum().float()


def batch(*targets: int) -> Batch:
    ids = torch.tensor([targets])
    trained = sum(target >= 0 for target in targets)
    return Batch(ids, ids, ids, None, len(targets), trained)


def found(*batches: Batch, loss: Any = None) -> dict[str, Any]:
    return perplexity.evaluate(loss or Loss(), iter(batches), "cpu", PRECISION)


def test_each_token_weighs_the_same_however_it_is_cut_into_batches() -> None:
    one = found(batch(1, 2, 3, -100, 10))
    assert one == {"eval_loss": 4.0, "perplexity": math.exp(4.0), "tokens": 4}
    assert found(batch(1), batch(2, 3, -100), batch(10)) == one


def test_a_batch_without_a_learned_token_is_not_run() -> None:
    loss = Loss()
    assert found(batch(-100, -100), batch(3), loss=loss)["eval_loss"] == 3.0
    assert loss.calls == 1


def test_many_small_sums_do_not_lose_their_digits() -> None:
    class Constant(Loss):
        def total(self, batch: Batch) -> Any:
            return torch.tensor(16_777_217.0 if batch.trained == 2 else 0.1)

    measured = found(batch(1, 1), *[batch(1)] * 1000, loss=Constant())
    expected = (float(torch.tensor(16_777_217.0)) + 1000 * float(torch.tensor(0.1))) / 1002
    assert measured["eval_loss"] == pytest.approx(expected, rel=1e-12)


def test_the_model_goes_on_being_trained_afterwards() -> None:
    loss = Loss()
    found(batch(1), loss=loss)
    assert loss.model.training


def test_a_loss_beyond_all_numbers_has_an_infinite_perplexity() -> None:
    assert found(batch(100_000))["perplexity"] == math.inf


def test_nothing_to_measure_is_no_number() -> None:
    nothing = found()
    assert nothing["tokens"] == 0
    assert math.isnan(nothing["eval_loss"])
    assert math.isnan(nothing["perplexity"])
