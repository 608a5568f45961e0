"""Training over the stages of a pipeline, with real processes: the same losses, gradients and weights as in one."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

pytestmark = [pytest.mark.torch, pytest.mark.slow]
torch = pytest.importorskip("torch")

from pipeline_runs import FAMILIES, Outcome, Runs, difference  # noqa: E402 - torch may be missing

if TYPE_CHECKING:
    from collections.abc import Iterator

FULL = bool(os.environ.get("FORGE_FULL"))
ALL = pytest.mark.skipif(not FULL, reason="set FORGE_FULL=1")
STEPS = () if FULL else ("trainer.max_steps=3", "trainer.eval_steps=3")
ONCE = ("parallel=pp_1f1b", "parallel.microbatches=2")
FOLDED = ("parallel=pp_zbv", "parallel.microbatches=4")
EIGHT = "trainer.per_device_train_batch_size=8"
SCHEDULES = ("gpipe", "1f1b", "i1f1b", "bfs", "zb", "zbv", "dualpipe")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    made = Runs(tmp_path_factory.mktemp("pipeline"))
    yield made
    made.close()


def same(one: Outcome, other: Outcome) -> None:
    """The same training: what sums in another order leave, and what an optimizer makes of that."""
    found = difference(one, other)
    assert found["loss"] < 1e-5, found
    assert found["eval"] < 1e-5, found
    assert found["gradients"] < 1e-5, found
    assert abs(one.norms[0] - other.norms[0]) < 1e-5 * other.norms[0], found
    # A gradient that is 0 but for rounding, such as that of a key's bias, becomes a whole step of Adam.
    assert found["weights"] < (1e-2 if FULL else 1e-3), found


@pytest.mark.parametrize("places", [2, 4])
def test_what_dualpipe_makes_is_sent_before_the_pass_it_meets(places: int) -> None:
    from torch.distributed.pipelining import schedules

    from forge.ml.parallel.pipeline import _SCHEDULES

    made: Any = object.__new__(_SCHEDULES["dualpipev"])
    made.pp_group_size, made._n_microbatches = places, 2 * places
    orders = {place: made._calculate_single_rank_operations(place) for place in range(places)}
    on = [*range(places), *reversed(range(places))]  # a pipeline folded into a V
    for place, order in schedules._add_send_recv(orders, lambda stage: on[stage], 2 * places).items():
        words = [str(action) for action in order]
        assert len(set(words)) == len(words)
        made_there = [one for one in order if one.computation_type == schedules.FORWARD]
        assert len(made_there) == 4 * places
        for one in made_there:
            if one.stage_index + 1 < len(on) and on[one.stage_index + 1] != place:
                assert words[words.index(str(one)) + 1] == f"{one.stage_index}SEND_F{one.microbatch_index}"


def test_a_pipeline_learns_what_one_process_learns_and_hands_it_on(runs: Runs) -> None:
    """A tied model in stages of unlike sizes, twice cut in another way; its checkpoint goes on in one process, bit by bit."""
    saving, nothing = "trainer.save_strategy=steps", "trainer.save_strategy=no"
    alone = runs.freeze("alone", "llama_tied", *STEPS)
    plain = runs.freeze("plain", "llama_tied", *STEPS, *ONCE, saving)
    folded = [runs.freeze("fold", "llama_tied", *STEPS, *FOLDED)] if FULL else []
    last = runs.last_step(plain)
    resumed = f"trainer.resume_from_checkpoint={runs.checkpoint(plain, last)}"
    again = [runs.freeze("again-one", "llama_tied", *STEPS, resumed, nothing)]
    if FULL:  # tests/layouts has other layouts go on from one another
        gpipe = ("parallel=pp_gpipe", "parallel.microbatches=4")
        again.append(runs.freeze("again-fsdp", "llama_tied", *STEPS, "parallel=fsdp", resumed, nothing))
        again.append(runs.freeze("again-pp", "llama_tied", *STEPS, *gpipe, resumed, nothing))
    found = runs.carry_out([plain, *folded, *again[1:]], 2)
    found |= runs.carry_out([alone, again[0]])
    same(found[plain], found[alone])
    for fold in folded:
        same(found[fold], found[alone])
    for name in again:
        assert found[name].weights.keys() == found[plain].weights.keys()
        assert all(torch.equal(found[name].weights[each], found[plain].weights[each]) for each in found[plain].weights)


@ALL
def test_every_family(runs: Runs) -> None:
    families = [*(name for name in FAMILIES if name != "llama_8"), "assembled"]
    alone = runs.carry_out([runs.freeze(f"{name}-1", name) for name in families])
    cut = runs.carry_out([runs.freeze(f"{name}-2", name, *ONCE) for name in families], 2)
    for name in families:
        same(cut[f"{name}-2"], alone[f"{name}-1"])


@ALL
@pytest.mark.parametrize("processes", [2, 4])
def test_every_schedule(runs: Runs, processes: int) -> None:
    alone = runs.carry_out([runs.freeze(f"alone-{processes}", "llama_8", EIGHT)])[f"alone-{processes}"]
    size = (EIGHT, f"parallel.pp={processes}")
    names = [runs.freeze(f"{name}-{processes}", "llama_8", f"parallel=pp_{name}", *size) for name in SCHEDULES]
    for outcome in runs.carry_out(names, processes).values():
        same(outcome, alone)


@ALL
@pytest.mark.parametrize(
    ("family", "overrides"),
    [
        ("llama_tied", ("parallel=pp_fsdp", "parallel.microbatches=4")),
        ("llama_8", (*FOLDED, "parallel.dp_shard=2", "parallel.zero_stage=3")),
        ("llama_8", ("parallel=pp_zb", "parallel.microbatches=4", "parallel.dp_shard=2", "parallel.zero_stage=2")),
        ("llama_tied", (*ONCE, "parallel.dp_replicate=2")),
    ],
)
def test_stages_that_several_processes_share(runs: Runs, family: str, overrides: Any) -> None:
    name = "-".join(overrides).replace("=", "").replace("parallel", "").replace(".", "")
    alone = runs.carry_out([runs.freeze(f"{name}-1", family, EIGHT)])[f"{name}-1"]
    cut = runs.freeze(f"{name}-4", family, "trainer.per_device_train_batch_size=4", *overrides)
    same(runs.carry_out([cut], 4)[cut], alone)


@ALL
@pytest.mark.parametrize(
    "settings",
    [("+adapter@model.adapter=lora",), ("trainer.gradient_checkpointing=true",)],
    ids=["lora", "checkpointing"],
)
def test_what_goes_with_a_pipeline(runs: Runs, settings: Any) -> None:
    name = settings[0].partition("=")[2]
    alone = runs.freeze(f"{name}-1", "llama_8", *settings)
    cut = runs.freeze(f"{name}-2", "llama_8", *settings, "parallel=pp_zb", "parallel.microbatches=4")
    same(runs.carry_out([cut], 2)[cut], runs.carry_out([alone])[alone])


@ALL
def test_weights_of_16_bits_are_rounded_by_chance_as_in_one_process(runs: Runs) -> None:
    """A tied model, whose shared weight two processes round alike; the checkpoint holds how often each was rounded."""
    settings = ("model.dtype._symbol_=torch.bfloat16", "trainer.stochastic_rounding=true", "optimizer.lr=0.01")
    saving, nothing = "trainer.save_strategy=steps", "trainer.save_strategy=no"
    alone = runs.freeze("chance-1", "llama_tied", *STEPS, *settings)
    cut = runs.freeze("chance-2", "llama_tied", *STEPS, *settings, *ONCE, saving)
    found = runs.carry_out([cut], 2)
    resumed = f"trainer.resume_from_checkpoint={runs.checkpoint(cut, runs.last_step(cut))}"
    again = runs.freeze("chance-again", "llama_tied", *STEPS, *settings, *ONCE, resumed, nothing)
    found |= runs.carry_out([again], 2) | runs.carry_out([alone])
    assert found[cut].losses == pytest.approx(found[alone].losses, rel=2e-2)
    for name, weight in found[alone].weights.items():
        assert torch.allclose(found[cut].weights[name].float(), weight.float(), rtol=0, atol=0.05), name
        assert torch.equal(found[again].weights[name], found[cut].weights[name]), name


@ALL
@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (("parallel.microbatches=3",), "rows do not divide into 3 microbatches"),
        (
            (
                "parallel.microbatches=4",
                "trainer.fuse_optim_with_backward=true",
                "trainer.max_grad_norm=null",
                "trainer.gradient_accumulation_steps=1",
            ),
            "fuse_optim",
        ),
        (("parallel.microbatches=4", "model.config.num_hidden_layers=1"), "layers do not make 2 stages"),
    ],
)
def test_what_cannot_be_cut_is_refused(runs: Runs, wrong: Any, said: str) -> None:
    name = runs.freeze(f"wrong-{said[:6].strip()}", "llama", "parallel=pp_1f1b", *wrong)
    with pytest.raises(AssertionError, match=said):
        runs.carry_out([name], 2)
