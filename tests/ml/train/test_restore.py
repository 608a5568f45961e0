"""What a checkpoint holds beside the model, and how a run goes on from it when its config has changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

from small_run import Interrupt  # noqa: E402 - torch may be missing

from forge.base.errors import ResumeError  # noqa: E402 - as above
from forge.ml.checkpoint.state import read_state  # noqa: E402 - as above
from forge.ml.optim.schedule import cosine_factor, linear_factor  # noqa: E402 - as above
from forge.ml.train.callback import Callback  # noqa: E402 - as above
from forge.ml.train.restore import _copied, collect, restore  # noqa: E402 - as above

if TYPE_CHECKING:
    from collections.abc import Callable

    from forge.ml.train.run import Run

    Carried = Callable[..., Run]

AGAIN = "trainer.resume_from_checkpoint=auto"
TEN = "trainer.max_steps=10"


class Rates(Callback):
    """The learning rate that each step is taken with."""

    def __init__(self) -> None:
        self.used: dict[int, float] = {}
        self.told: dict[int, float] = {}

    def before_update(self, run: Run, loss: float, grad_norm: float | None) -> bool:  # noqa: ARG002 - what a callback is given
        rates = {group["lr"] for group in run.optimizer.param_groups}
        assert len(rates) == 1
        (self.used[run.step],) = rates
        return True

    def after_step(self, run: Run, record: dict[str, Any]) -> None:
        self.told[run.step - 1] = record["lr"]


class Counting(Callback):
    """Remembers in checkpoints how many steps it has seen."""

    def __init__(self) -> None:
        self.seen = 0

    def after_step(self, run: Run, record: dict[str, Any]) -> None:  # noqa: ARG002 - what a callback is given
        self.seen += 1

    def state(self) -> dict[str, Any]:
        return {"seen": self.seen}

    def load(self, state: dict[str, Any]) -> None:
        self.seen = state["seen"]


def cosine(step: int, total: int) -> float:
    return cosine_factor(step, total=total, warmup=round(0.0 * total), min_lr_ratio=0.1)


@pytest.fixture
def resumed(carried: Carried) -> Callable[..., Rates]:
    """The learning rates of a run that was stopped after four of ten steps and resumed with changes."""

    def rates(*changes: str) -> Rates:
        warm = "schedule.warmup_ratio=0"
        carried(TEN, warm, callbacks=(Interrupt(4, "after"),))
        found = Rates()
        run = carried(TEN, warm, AGAIN, *changes, callbacks=(found,))
        assert run.step == run.total_steps
        assert min(found.used) == 4
        assert found.used == found.told
        return found

    return rates


def test_the_schedule_goes_on(resumed: Callable[..., Rates]) -> None:
    assert resumed().used == pytest.approx({step: 0.01 * cosine(step, 10) for step in range(4, 10)}, rel=1e-12)


def test_a_changed_learning_rate_holds_from_the_resume_on(resumed: Callable[..., Rates]) -> None:
    found = resumed("optimizer.lr=0.002").used
    assert found == pytest.approx({step: 0.002 * cosine(step, 10) for step in range(4, 10)}, rel=1e-12)


def test_a_longer_run_follows_the_longer_schedule(resumed: Callable[..., Rates]) -> None:
    found = resumed("trainer.max_steps=14").used
    assert found == pytest.approx({step: 0.01 * cosine(step, 14) for step in range(4, 14)}, rel=1e-12)


def test_another_schedule_holds_from_the_resume_on(resumed: Callable[..., Rates]) -> None:
    found = resumed("schedule=linear", "schedule.warmup_ratio=0", "schedule.min_lr_ratio=0").used
    expected = {step: 0.01 * linear_factor(step, total=10, warmup=0, min_lr_ratio=0.0) for step in range(4, 10)}
    assert found == pytest.approx(expected, rel=1e-12)


def test_a_schedule_of_torch_goes_on_exactly(carried: Carried, tmp_path: Path) -> None:
    cycle = ("~schedule", "+schedule._target_=torch.optim.lr_scheduler.CosineAnnealingLR", "+schedule._partial_=true")
    whole = carried(TEN, *cycle, f"trainer.output_dir={tmp_path}/whole")
    carried(TEN, *cycle, callbacks=(Interrupt(4, "after"),))
    resumed = carried(TEN, *cycle, AGAIN)
    assert whole.schedule.get_last_lr() == resumed.schedule.get_last_lr()
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, resumed.model.state_dict()[name])


def test_how_the_optimizer_learns_is_what_the_config_says_now(made: Callable[..., Run], carried: Carried) -> None:
    carried(callbacks=(Interrupt(2, "after"),))
    run = made(AGAIN, "optimizer.weight_decay=0.5", "optimizer.betas=[0.8,0.9]")
    assert [group["weight_decay"] for group in run.optimizer.param_groups] == [0.5, 0.0]
    assert {tuple(group["betas"]) for group in run.optimizer.param_groups} == {(0.8, 0.9)}
    assert len(run.optimizer.state) == len(list(run.model.parameters()))
    assert {float(state["step"]) for state in run.optimizer.state.values()} == {2.0}


def test_another_batch_size_goes_on_at_the_same_example(made: Callable[..., Run], carried: Carried) -> None:
    carried(callbacks=(Interrupt(2, "after"),))
    one = (AGAIN, "trainer.save_strategy=no")
    usual, large = made(*one), made(*one, "trainer.per_device_train_batch_size=4")
    assert usual.epoch == large.epoch
    first = [seen for batch in usual.loader.next() for seen in batch.ids]
    both = [seen for batch in large.loader.next() for seen in batch.ids]
    assert both[: len(first)] == first


def test_what_is_collected_is_restored(made: Callable[..., Run], carried: Carried) -> None:
    first = carried("trainer.save_steps=4")
    run = made(AGAIN, "trainer.max_steps=8")
    assert run.counts == first.counts
    assert run.best == first.best
    state, kept = collect(run), collect(first)
    assert state["loader"] == kept["loader"]
    assert state["random"].keys() == kept["random"].keys()
    for name, tensor in first.model.state_dict().items():
        assert torch.equal(tensor, run.model.state_dict()[name])


def test_a_checkpoint_is_a_model_folder_with_the_state_beside_it(carried: Carried) -> None:
    run = carried()
    folder = Path(run.settings.output_dir, "checkpoints", "checkpoint-4")
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "state/graph.json", "manifest.json"} <= names
    assert (folder / "state" / "graph.json").read_text() == run.graph
    facts = json.loads((folder / "manifest.json").read_text())["facts"]
    assert facts == {"run": run.folder, "epoch": run.epoch, "tokens": run.counts.tokens}
    assert read_state(str(folder))["counts"]["step"] == 4


def test_callbacks_find_their_own_state_again(carried: Carried, freeze: Callable[..., str]) -> None:
    from forge.ml.train.setup import set_up
    from forge.ml.train.stopping import Stopping

    counting = Counting()
    first = carried("trainer.save_strategy=no", callbacks=(Rates(), counting))
    state = collect(first)
    assert [one["kind"].rpartition(".")[2] for one in state["callbacks"]] == [
        "Steering",
        "LostRows",
        "Rates",
        "Counting",
    ]
    run = set_up(freeze("trainer.save_strategy=no"), Stopping())
    again = Counting()
    run.callbacks = [again, Callback()]
    restore(run, state)
    run.close()
    assert again.seen == counting.seen == 4


def test_each_of_two_callbacks_of_a_kind_finds_its_own_state_again(made: Callable[..., Run]) -> None:
    run = made("trainer.save_strategy=no")
    run.callbacks = [Counting(), Counting(), Counting()]
    for number, callback in enumerate(run.callbacks[:2], 1):
        callback.load({"seen": number})
    state = collect(run)
    state["callbacks"].pop()
    run.callbacks = [Counting(), Counting(), Counting()]
    restore(run, state)
    assert [callback.seen for callback in run.callbacks] == [1, 2, 0]


@pytest.mark.parametrize(
    ("before", "after", "missing"),
    [
        ((), ("+optimizer.amsgrad=true",), "max_exp_avg_sq"),
        (
            ("optimizer=muon",),
            ("optimizer=muon", "optimizer.adamw_names=[wte,wpe,lm_head,c_attn]"),
            "exp_avg, exp_avg_sq, step",
        ),
    ],
)
def test_an_optimizer_that_looks_for_what_was_not_saved_is_refused(
    made: Callable[..., Run], carried: Carried, before: tuple[str, ...], after: tuple[str, ...], missing: str
) -> None:
    carried(*before, callbacks=(Interrupt(2, "after"),))
    with pytest.raises(ResumeError, match=f"as it is set now it looks for {missing}, which was not saved"):
        made(AGAIN, *after)


def test_an_optimizer_of_others_is_not_asked(made: Callable[..., Run]) -> None:
    class Large(torch.optim.AdamW):
        """Wants matrices of some size."""

        def __init__(self, groups: Any) -> None:
            super().__init__(groups)
            if any(one.numel() < 10 for group in self.param_groups for one in group["params"]):
                raise RuntimeError("too small")

    run = made("trainer.save_strategy=no")
    state = collect(run)
    run.settings.optimizer = Large
    restore(run, state)


@pytest.mark.parametrize(
    ("change", "steps"),
    [
        ("trainer.seed=42", 15),  # none: 57 sequences, of which 8 were taken in two steps, four in a step
        ("trainer.per_device_train_batch_size=4", 2 + 7),
        ("trainer.gradient_accumulation_steps=1", 2 + 25),
        ("trainer.num_train_epochs=2", 29),
        ("trainer.num_train_epochs=0.1", 2),
    ],
)
def test_a_run_that_goes_by_epochs_ends_where_they_end(
    made: Callable[..., Run], carried: Carried, change: str, steps: int
) -> None:
    carried("trainer.max_steps=-1", callbacks=(Interrupt(2, "after"),))
    assert made(AGAIN, "trainer.max_steps=-1", change).total_steps == steps


def test_a_state_of_other_parameters_is_refused(made: Callable[..., Run]) -> None:
    run = made()
    state = collect(run)
    state["optimizer"]["param_groups"] = state["optimizer"]["param_groups"][:1]
    with pytest.raises(ResumeError, match="the state of the optimizer does not fit") as caught:
        restore(run, state)
    assert "trained parameters" in caught.value.hint


def test_a_scale_that_was_saved_goes_on(made: Callable[..., Run]) -> None:
    from dataclasses import replace

    run = made()
    run.precision = replace(run.precision, scaler=torch.amp.GradScaler("cpu", init_scale=8.0))
    state = collect(run)
    run.precision = replace(run.precision, scaler=torch.amp.GradScaler("cpu", init_scale=2.0))
    restore(run, state)
    assert run.precision.scaler.get_scale() == 8.0


def test_a_state_without_a_scale_leaves_the_scale(made: Callable[..., Run]) -> None:
    from dataclasses import replace

    run = made()
    state = collect(run)
    assert state["scaler"] is None
    run.precision = replace(run.precision, scaler=torch.amp.GradScaler("cpu", init_scale=2.0))
    restore(run, state)
    assert run.precision.scaler.get_scale() == 2.0


class Halves(torch.Tensor):  # type: ignore[misc]
    """A tensor made of another one, which knows no operation of torch."""

    @staticmethod
    def __new__(cls: type[Any], inside: Any) -> Any:
        return torch.Tensor._make_wrapper_subclass(cls, inside.shape, dtype=inside.dtype)

    def __init__(self, inside: Any) -> None:
        self.inside = inside

    def __tensor_flatten__(self) -> tuple[list[str], None]:
        return ["inside"], None

    @classmethod
    def __tensor_unflatten__(cls, parts: dict[str, Any], _context: None, _shape: Any, _stride: Any) -> Halves:
        return cls(parts["inside"])

    @classmethod
    def __torch_dispatch__(cls, function: Any, *_: Any, **__: Any) -> Any:
        raise NotImplementedError(function)


def test_what_an_optimizer_remembers_in_few_bits_is_copied_too() -> None:
    kept = Halves(torch.ones(3))
    copied = _copied(kept)
    assert isinstance(copied, Halves)
    assert torch.equal(copied.inside, kept.inside)
    assert copied.inside.data_ptr() != kept.inside.data_ptr()
    plain = torch.ones(2)
    assert _copied(plain).data_ptr() != plain.data_ptr()
