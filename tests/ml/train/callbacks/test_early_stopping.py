"""When a run that has stopped getting better is ended."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace
from typing import Any

import pytest

from forge.base.errors import RunError
from forge.ml.train.callbacks.early_stopping import EarlyStopping


class Run:
    """As much of a run as early stopping looks at."""

    def __init__(self, strategy: str = "steps", sets: tuple[str, ...] = ("held_out",)) -> None:
        self.settings = SimpleNamespace(eval_strategy=strategy)
        self.evaluations = dict.fromkeys(sets)
        self.reason = ""

    def stop(self, reason: str) -> None:
        self.reason = reason


def evaluated(loss: float, dataset: str = "held_out", tokens: int = 10) -> dict[str, Any]:
    return {"dataset": dataset, "eval_loss": loss, "perplexity": 1.0, "tokens": tokens}


def stopped_after(callback: EarlyStopping, losses: list[float]) -> int | None:
    run: Any = Run()
    for number, loss in enumerate(losses, 1):
        callback.after_evaluation(run, [evaluated(loss)])
        if run.reason:
            return number
    return None


@pytest.mark.parametrize(
    ("settings", "losses", "expected"),
    [
        ({"patience": 2}, [3, 2, 1, 1, 1], 5),
        ({"patience": 2}, [3, 3, 2, 3, 1, 2], None),
        ({"patience": 1}, [3, 3], 2),
        ({"patience": 2, "min_delta": 0.5}, [3, 2.8, 2.6, 1], 3),
        ({"patience": 2, "min_delta": 0.5}, [3, 2.8, 2.4, 2.3, 1], None),
        ({"patience": 2}, [3, math.nan, math.nan], 3),
        ({"patience": 2}, [math.nan, 3, 2, 1], None),
        ({"patience": 2}, [math.nan, math.nan], 2),
    ],
)
def test_a_run_is_ended_when_nothing_gets_better(
    settings: dict[str, Any], losses: list[float], expected: int | None
) -> None:
    assert stopped_after(EarlyStopping(**settings), losses) == expected


def test_the_reason_says_what_was_waited_for() -> None:
    run: Any = Run()
    callback = EarlyStopping(patience=1)
    for loss in (1.5, 2.0):
        callback.after_evaluation(run, [evaluated(loss)])
    assert run.reason == "early stopping: eval_loss has not fallen below 1.5 in 1 evaluations"


def test_of_several_sets_each_token_weighs_the_same_unless_one_is_named() -> None:
    records = [evaluated(1.0, "a", 30), evaluated(5.0, "b", 10)]
    both, one = EarlyStopping(), EarlyStopping(dataset="b")
    run: Any = Run()
    both.after_evaluation(run, records)
    one.after_evaluation(run, records)
    assert (both.best, one.best) == (2.0, 5.0)


def test_a_resumed_run_goes_on_waiting() -> None:
    losses = [3.0, 2.0, 2.0, 2.0, 2.0]
    expected = stopped_after(EarlyStopping(patience=3), losses)
    for cut in range(1, 4):
        first, second = EarlyStopping(patience=3), EarlyStopping(patience=3)
        assert stopped_after(first, losses[:cut]) is None
        second.load(json.loads(json.dumps(first.state())))
        assert stopped_after(second, losses[cut:]) == expected - cut


@pytest.mark.parametrize(
    ("wrong", "message"), [({"patience": 0}, "patience is"), ({"min_delta": -1.0}, "min_delta is")]
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EarlyStopping(**wrong)


def test_a_run_without_evaluations_is_refused_before_it_starts() -> None:
    for run in (Run("no"), Run(sets=())):
        with pytest.raises(RunError, match="needs evaluations"):
            EarlyStopping().begin(run)  # type: ignore[arg-type]
    with pytest.raises(RunError, match="does not have"):
        EarlyStopping(dataset="other").begin(Run())  # type: ignore[arg-type]


def test_a_metric_that_nobody_measures_is_named() -> None:
    run: Any = Run()
    with pytest.raises(RunError) as caught:
        EarlyStopping(metric="bleu").begin(run)
    assert "'bleu'" in str(caught.value)
    assert "eval_loss, perplexity" in str(caught.value)
