"""What the watch over loss and gradients does when one is not finite."""

from __future__ import annotations

import contextlib
import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from forge.base.errors import RunError

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
nonfinite = pytest.importorskip("forge.ml.train.callbacks.nonfinite")
from forge.control.heartbeat import own_heart  # noqa: E402 - behind the question whether torch is there
from forge.ml.data.batch import Batch  # noqa: E402 - as above
from forge.ml.parallel.world import World  # noqa: E402 - as above

NAN, INF = float("nan"), float("inf")


class Model(torch.nn.Module):
    """Gives NaN for token 7."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = torch.nn.Embedding(16, 4), torch.nn.Linear(4, 16)

    def forward(self, ids: Any) -> Any:
        return self.head(self.embed(ids) * torch.where(ids == 7, NAN, 1.0).unsqueeze(-1))


def batch(*tokens: int, example: int) -> Batch:
    ids = torch.tensor([tokens])
    return Batch(ids, ids, ids, None, len(tokens), len(tokens), ((0, example),))


def run_of(folder: Path, scaler: Any = None) -> Any:
    model = Model()
    said: list[str] = []
    return SimpleNamespace(
        folder=str(folder),
        device=torch.device("cpu"),
        world=World(torch.device("cpu")),
        step=11,
        model=model,
        fused=None,
        loss=SimpleNamespace(total=lambda given: model(given.input_ids).logsumexp(-1).sum()),
        batch=[batch(1, 2, example=3), batch(5, 7, example=4)],
        precision=SimpleNamespace(scaler=scaler, autocast=contextlib.nullcontext),
        memory=contextlib.nullcontext,
        schedule=SimpleNamespace(get_last_lr=lambda: [0.1]),
        said=said,
        progress=SimpleNamespace(say=said.append),
    )


class OneOfTwo(World):
    """The other process has nothing to add, and what it is asked it answers as this one."""

    def sum(self, values: Any, _over: str = "all") -> list[float]:
        return list(values)

    def exchange(self, value: Any) -> list[Any]:
        nothing = {name: [] for name in value}
        return [nothing, json.loads(json.dumps(value))]


def test_among_others_the_process_is_named_and_the_module(tmp_path: Path) -> None:
    run = run_of(tmp_path)
    run.world = OneOfTwo(torch.device("cpu"), rank=1, size=2)
    run.loss.model, run.own_loss = run.model, NAN
    own_heart.cache_clear()
    with pytest.raises(
        RunError, match=r"the loss is nan, from rank 1; on rank 1 the output of head \(Linear\) is the first"
    ):
        nonfinite.NonFinite().before_update(run, NAN, NAN)
    report = json.loads((tmp_path / "nonfinite-step12-rank1.json").read_text())
    assert (report["fault"]["kind"], report["fault"]["rank"], report["examples"]) == ("output", 1, [[0, 4]])
    run.own_loss = 1.0
    with pytest.raises(RunError, match="the loss is nan; "):
        nonfinite.NonFinite().before_update(run, NAN, NAN)


def test_finite_steps_cost_one_look(tmp_path: Path) -> None:
    watch = nonfinite.NonFinite()
    nothing: Any = SimpleNamespace(precision=SimpleNamespace(scaler=None))
    assert watch.before_update(nothing, 2.5, 1.0)
    assert watch.before_update(nothing, 2.5, None)
    assert list(tmp_path.iterdir()) == []


def test_a_run_is_stopped_with_the_module_and_the_examples(tmp_path: Path) -> None:
    with pytest.raises(RunError) as caught:
        nonfinite.NonFinite().before_update(run_of(tmp_path), NAN, NAN)
    text = str(caught.value)
    assert "step 12: the loss is nan; the output of head (Linear) is the first that is not finite" in text
    assert "in batch 2 of 2; examples 0:4" in text
    assert "callback.nonfinite.action=skip" in text
    report = json.loads((tmp_path / "nonfinite-step12.json").read_text())
    assert report["loss_text"] == "NaN"
    assert report["fault"]["module"] == "head"
    assert (report["examples"], report["input_ids"], report["lr"]) == ([[0, 4]], [[[5, 7]]], 0.1)


@pytest.mark.parametrize(
    ("step", "advice"), [(0, "look at the folder that its weights are read from"), (11, "go back to a checkpoint")]
)
def test_a_weight_that_was_bad_already_is_not_for_a_lower_rate_to_mend(tmp_path: Path, step: int, advice: str) -> None:
    run = run_of(tmp_path)
    run.step = step
    with torch.no_grad():
        run.model.head.weight[0, 0] = NAN
    with pytest.raises(RunError, match=r"the weight head.weight \(Linear\) was not finite before the step") as caught:
        nonfinite.NonFinite().before_update(run, NAN, NAN)
    assert advice in str(caught.value)


def test_a_gradient_alone_is_enough(tmp_path: Path) -> None:
    run = run_of(tmp_path)
    run.batch = run.batch[:1]
    with pytest.raises(RunError, match=r"the norm of the gradients is inf.*did not show it again"):
        nonfinite.NonFinite().before_update(run, 2.5, INF)


def test_an_update_is_left_out_so_many_times_in_a_row(tmp_path: Path) -> None:
    watch, run = nonfinite.NonFinite("skip", most_skipped=2), run_of(tmp_path)
    assert [watch.before_update(run, NAN, 1.0) for _ in range(2)] == [False, False]
    assert watch.before_update(run, 1.0, 1.0)
    assert [watch.before_update(run, NAN, 1.0) for _ in range(2)] == [False, False]
    assert len(run.said) == 4
    assert run.said[0].endswith("the update is left out")
    with pytest.raises(RunError):
        watch.before_update(run, NAN, 1.0)


def test_a_resumed_run_goes_on_counting(tmp_path: Path) -> None:
    first, second = nonfinite.NonFinite("skip", most_skipped=1), nonfinite.NonFinite("skip", most_skipped=1)
    assert not first.before_update(run_of(tmp_path), NAN, 1.0)
    second.load(json.loads(json.dumps(first.state())))
    with pytest.raises(RunError):
        second.before_update(run_of(tmp_path), NAN, 1.0)


def test_a_warning_lets_the_update_be_made(tmp_path: Path) -> None:
    run = run_of(tmp_path)
    assert nonfinite.NonFinite("warn").before_update(run, NAN, 1.0)
    assert run.said[0].endswith("the update is made all the same")


def test_an_optimizer_inside_the_backward_pass_cannot_leave_an_update_out(tmp_path: Path) -> None:
    run = run_of(tmp_path)
    run.fused = object()
    with pytest.raises(RunError, match="none can be skipped"):
        nonfinite.NonFinite("skip").begin(run)
    nonfinite.NonFinite("stop").begin(run)
    with pytest.raises(RunError, match="go back to a checkpoint"):
        nonfinite.NonFinite("stop").before_update(run, NAN, None)


def test_many_examples_are_counted_and_each_is_named_once(tmp_path: Path) -> None:
    run = run_of(tmp_path)
    run.batch[1].ids = tuple((0, number // 2) for number in range(40))
    with pytest.raises(RunError, match=r"examples 0:0, 0:1, 0:2, 0:3, 0:4, 0:5, 0:6, 0:7 and 12 more"):
        nonfinite.NonFinite().before_update(run, NAN, NAN)
    assert len(json.loads((tmp_path / "nonfinite-step12.json").read_text())["examples"]) == 40


def test_the_gradients_of_a_scaler_may_be_infinite_its_loss_may_not(tmp_path: Path) -> None:
    run = run_of(tmp_path, SimpleNamespace(get_scale=lambda: 65536.0))
    assert nonfinite.NonFinite().before_update(run, 2.5, INF)
    with pytest.raises(RunError, match="the loss is nan"):
        nonfinite.NonFinite().before_update(run, NAN, INF)


@pytest.mark.parametrize(
    ("wrong", "message"), [({"action": "die"}, "action is"), ({"most_skipped": 0}, "most_skipped is")]
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        nonfinite.NonFinite(**wrong)
