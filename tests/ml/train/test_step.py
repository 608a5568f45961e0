"""One optimizer step: every trained token weighs the same, and what is done to the gradients is what was asked for."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

from forge.ml.data.batch import IGNORED, Batch  # noqa: E402 - torch may be missing
from forge.ml.optim.schedule import cosine_factor  # noqa: E402 - as above
from forge.ml.train.callback import Callback  # noqa: E402 - as above
from forge.ml.train.step import optimizer_step, take_step  # noqa: E402 - as above

if TYPE_CHECKING:
    from collections.abc import Callable

    from forge.ml.train.run import Run

    Make = Callable[..., Run]

# Without dropout the same batch has the same gradients again.
EXACT = ("model.config.resid_pdrop=0", "model.config.embd_pdrop=0", "trainer.save_strategy=no")
UNCLIPPED = (*EXACT, "trainer.max_grad_norm=null")
LENGTHS, TRAINED = (9, 30, 17, 5, 24), (3, 29, 8, 1, 11)


class Watch(Callback):
    """Keeps the gradients and the learning rate as they are before the update, which is made or not."""

    def __init__(self, *, wanted: bool = True) -> None:
        self.wanted, self.asked = wanted, 0
        self.gradients: dict[str, Any] = {}

    def before_update(self, run: Run, loss: float, grad_norm: float | None) -> bool:  # noqa: ARG002 - what a callback is given
        self.asked += 1
        self.lr = run.optimizer.param_groups[0]["lr"]
        self.gradients = {name: one.grad.clone() for name, one in run.model.named_parameters()}
        return self.wanted


def rows(*numbers: int) -> Batch:
    """Some of five rows of random tokens, padded on the right; each has another number of tokens that are learned."""
    width = max(LENGTHS[number] for number in numbers)
    tokens, targets = torch.zeros(len(numbers), width, dtype=torch.int64), torch.full((len(numbers), width), IGNORED)
    for place, number in enumerate(numbers):
        generator = torch.Generator().manual_seed(number)
        drawn = torch.randint(3, 300, (LENGTHS[number] + 1,), generator=generator)
        tokens[place, : LENGTHS[number]] = drawn[:-1]
        learned = slice(LENGTHS[number] - TRAINED[number], LENGTHS[number])
        targets[place, learned] = drawn[1:][learned]
    return Batch(
        input_ids=tokens,
        targets=targets,
        position_ids=torch.arange(width).expand(len(numbers), -1),
        lengths=None,
        tokens=sum(LENGTHS[number] for number in numbers),
        trained=sum(TRAINED[number] for number in numbers),
    )


def nothing_learned() -> Batch:
    batch = rows(0)
    batch.targets.fill_(IGNORED)
    batch.trained = 0
    return batch


def stepped(run: Run, *batches: Batch, wanted: bool = True) -> tuple[Any, Watch]:
    watch = Watch(wanted=wanted)
    run.callbacks = [watch]
    return optimizer_step(run, list(batches)), watch


def weights(run: Run) -> dict[str, Any]:
    return {name: tensor.clone() for name, tensor in run.model.state_dict().items()}


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def furthest(one: dict[str, Any], other: dict[str, Any]) -> float:
    assert one.keys() == other.keys()
    return max(float((one[name] - other[name]).abs().max()) for name in one)


@pytest.mark.parametrize("loss", ["linear", "logits", "whole"])
def test_accumulated_batches_are_one_big_batch(made: Make, loss: str) -> None:
    run = made(*UNCLIPPED, f"trainer.loss={loss}")
    whole, of_whole = stepped(run, rows(0, 1, 2, 3, 4), wanted=False)
    parts, of_parts = stepped(run, rows(3), rows(0, 1), rows(2, 4), wanted=False)
    assert furthest(of_whole.gradients, of_parts.gradients) < 1e-6
    assert parts.loss == pytest.approx(whole.loss, abs=1e-6)
    assert parts.grad_norm == pytest.approx(whole.grad_norm, abs=1e-6)
    assert parts.trained_tokens == whole.trained_tokens == sum(TRAINED)
    assert parts.tokens == whole.tokens == sum(LENGTHS)


def test_a_mean_of_means_would_be_seen(made: Make) -> None:
    run = made(*UNCLIPPED)
    whole, _ = stepped(run, rows(3, 1), wanted=False)
    means = [stepped(run, rows(number), wanted=False)[0].loss for number in (3, 1)]
    assert abs(sum(means) / 2 - whole.loss) > 1e-3


def test_what_is_dropped_depends_on_the_seed_the_step_and_the_process_alone(made: Make) -> None:
    def gradients(rank: int, before: int) -> dict[str, Any]:
        run = made("trainer.save_strategy=no")  # with dropout
        run.world = replace(run.world, rank=rank)
        torch.manual_seed(before)
        watch = Watch()
        run.callbacks = [watch]
        take_step(run)
        return watch.gradients

    first = gradients(0, before=1)
    assert same(first, gradients(0, before=2))
    assert not same(first, gradients(1, before=1))


def test_the_gradients_are_those_of_the_library_on_padded_rows(made: Make) -> None:
    run = made(*UNCLIPPED)
    measured, watch = stepped(run, rows(0, 2), rows(1), rows(4, 3), wanted=False)
    model, batch = copy.deepcopy(run.model), rows(0, 1, 2, 3, 4)
    # The library shifts labels itself: the label of a token is the target of the one before.
    labels = torch.cat([torch.full((5, 1), IGNORED), batch.targets], dim=1)
    tokens = torch.cat([batch.input_ids, torch.zeros(5, 1, dtype=torch.int64)], dim=1)
    mask = torch.arange(tokens.shape[1]) < torch.tensor(LENGTHS)[:, None] + 1
    last = torch.tensor(LENGTHS)
    tokens[torch.arange(5), last] = labels[torch.arange(5), last].clamp(min=0)
    loss = model(input_ids=tokens, attention_mask=mask.long(), labels=labels, use_cache=False).loss
    loss.backward()
    assert measured.loss == pytest.approx(loss.item(), abs=1e-6)
    assert furthest(watch.gradients, {name: one.grad for name, one in model.named_parameters()}) < 1e-6


def test_clipped_by_norm(made: Make) -> None:
    run = made(*EXACT, "trainer.max_grad_norm=0.05")
    free = made(*UNCLIPPED)
    clipped, watch = stepped(run, rows(0, 1), wanted=False)
    unclipped, of_free = stepped(free, rows(0, 1), wanted=False)
    assert clipped.grad_norm == pytest.approx(unclipped.grad_norm)
    assert clipped.grad_norm > 0.05
    after = torch.stack([one.norm() for one in watch.gradients.values()]).norm()
    assert float(after) == pytest.approx(0.05, rel=1e-3)
    share = 0.05 / clipped.grad_norm
    assert furthest(watch.gradients, {name: one * share for name, one in of_free.gradients.items()}) < 1e-6


def test_clipped_by_value(made: Make) -> None:
    run = made(*UNCLIPPED, "trainer.max_grad_value=0.01")
    free = made(*UNCLIPPED)
    clipped, watch = stepped(run, rows(0, 1), wanted=False)
    unclipped, of_free = stepped(free, rows(0, 1), wanted=False)
    assert clipped.grad_norm == unclipped.grad_norm
    assert max(float(one.abs().max()) for one in of_free.gradients.values()) > 0.01
    assert same(watch.gradients, {name: one.clamp(-0.01, 0.01) for name, one in of_free.gradients.items()})


def test_a_step_without_a_trained_token_leaves_the_weights_and_goes_on(made: Make) -> None:
    run = made(*EXACT)
    before = weights(run)
    measured, watch = stepped(run, nothing_learned(), nothing_learned())
    assert same(before, weights(run))
    assert measured.grad_norm is None
    assert measured.trained_tokens == 0
    assert measured.tokens == 2 * LENGTHS[0]
    assert watch.asked == 0
    assert run.schedule.last_epoch == 1
    assert run.optimizer.state == {}


def test_a_batch_without_a_trained_token_changes_nothing_of_the_others(made: Make) -> None:
    run = made(*UNCLIPPED)
    alone, of_alone = stepped(run, rows(0, 1), wanted=False)
    among, of_among = stepped(run, nothing_learned(), rows(0, 1), wanted=False)
    assert alone.loss == among.loss
    assert same(of_alone.gradients, of_among.gradients)


def test_an_update_that_a_callback_does_not_want_is_left_out(made: Make) -> None:
    run = made(*EXACT)
    before = weights(run)
    first, last = Watch(wanted=False), Watch()
    run.callbacks = [first, last]
    optimizer_step(run, [rows(0)])
    assert (first.asked, last.asked) == (1, 1)  # every one is asked
    assert same(before, weights(run))
    assert run.optimizer.state == {}
    assert all(parameter.grad is None for parameter in run.model.parameters())
    assert run.schedule.last_epoch == 1
    stepped(run, rows(0))
    assert not same(before, weights(run))


def test_an_optimizer_inside_the_backward_pass_makes_the_same_updates(made: Make) -> None:
    plain = made(*UNCLIPPED, "trainer.max_grad_value=0.01", "optimizer.fused=false")
    fused = made(
        *UNCLIPPED,
        "trainer.max_grad_value=0.01",
        "optimizer.fused=false",
        "trainer.fuse_optim_with_backward=true",
        "trainer.gradient_accumulation_steps=1",
    )
    for number in range(3):
        batch = rows(number, number + 1)
        one, other = optimizer_step(plain, [batch]), optimizer_step(fused, [batch])
        assert one.loss == other.loss
        assert one.grad_norm == pytest.approx(other.grad_norm, rel=1e-5)
        assert one.lr == other.lr
    assert same(weights(plain), weights(fused))
    assert all(parameter.grad is None for parameter in fused.model.parameters())


def test_stochastic_rounding_takes_steps_too_small_for_the_weights(made: Make) -> None:
    moved = {}
    for rounding in (False, True):
        run = made(
            *EXACT,
            "model.dtype._symbol_=torch.bfloat16",
            f"trainer.stochastic_rounding={rounding}",
            "optimizer.lr=1e-5",
            "optimizer.weight_decay=0",
        )
        before = weights(run)["transformer.wte.weight"]
        for _ in range(3):
            stepped(run, rows(0, 1))
        large = before.abs() > 0.01
        moved[rounding] = int((weights(run)["transformer.wte.weight"] != before)[large].sum())
    assert moved[False] == 0
    assert moved[True] > 20


def test_the_learning_rate_that_is_told_is_the_one_that_was_used(made: Make) -> None:
    run = made(*EXACT, "trainer.max_steps=10")
    for step in range(5):
        measured, watch = stepped(run, rows(step))
        expected = 0.01 * cosine_factor(step, total=10, warmup=0, min_lr_ratio=0.1)
        assert measured.lr == watch.lr == pytest.approx(expected, rel=1e-12)


def scaled(run: Run, scale: float) -> Run:
    """The run with a scaled loss, which mixed precision fp16 has."""
    run.precision = replace(run.precision, scaler=torch.amp.GradScaler("cpu", init_scale=scale))
    return run


def test_a_scaled_loss_gives_the_same_step(made: Make) -> None:
    plain, run = made(*EXACT), scaled(made(*EXACT), 1024.0)
    for number in range(2):
        one, other = optimizer_step(plain, [rows(number)]), optimizer_step(run, [rows(number)])
        assert one.loss == other.loss
        assert one.grad_norm == pytest.approx(other.grad_norm, rel=1e-6)
    assert same(weights(plain), weights(run))  # a power of two changes no digit


def test_a_scaled_loss_that_overflows_leaves_the_weights_and_lowers_the_scale(made: Make) -> None:
    run = scaled(made(*EXACT), 2.0**127)
    before = weights(run)
    stepped(run, rows(0, 1))
    assert same(before, weights(run))
    assert run.precision.scaler.get_scale() == 2.0**126
    assert all(parameter.grad is None for parameter in run.model.parameters())


def test_a_scaled_loss_bears_an_update_that_is_left_out(made: Make) -> None:
    run = scaled(made(*EXACT), 1024.0)
    before = weights(run)
    stepped(run, rows(0), wanted=False)
    assert same(before, weights(run))
    stepped(run, rows(0))
    assert not same(before, weights(run))
