"""A checkpoint of any layout is gone on from under any other: the same bits, the same examples in the same order, the same end."""

from __future__ import annotations

import os
import sys
from collections import Counter
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

pytestmark = [pytest.mark.torch, pytest.mark.slow]
torch = pytest.importorskip("torch")

sys.path.insert(0, str(Path(__file__).parent))

from cases import Case, Outcome, carried_out  # noqa: E402 - torch may be missing
from safetensors.torch import load_file  # noqa: E402 - as above
from test_same_loss import compare  # noqa: E402 - as above

from forge.ml.checkpoint.store import Store  # noqa: E402 - as above

if TYPE_CHECKING:
    from collections.abc import Callable

FULL = os.environ.get("FORGE_FULL") == "1"
LAYERS = 4
STEPS, SAVED, ROWS, EXAMPLES = 4, 2, 12, 15  # an epoch ends within the second step, the next within the third
# Each with its processes and how many of them read data of their own.
PLACES: dict[str, tuple[int, int, tuple[str, ...]]] = {
    "one": (1, 1, ()),
    "fsdp 2": (2, 2, ("parallel=fsdp", "parallel.dp_shard=2")),
    "ddp 2": (2, 2, ("parallel=ddp", "parallel.dp_replicate=2")),
    "tp 2": (2, 1, ("parallel=tp",)),
    "pp 2": (2, 1, ("parallel=pp_1f1b", "parallel.microbatches=4")),
    "pp 2, named": (2, 1, ("parallel=pp_1f1b", "parallel.microbatches=4", "parallel.stage_layers=[1,3]")),
    "cp 2": (2, 1, ("parallel=cp",)),
    "fsdp 3": (3, 3, ("parallel=fsdp", "parallel.dp_shard=3")),
    "fsdp 4": (4, 4, ("parallel=fsdp", "parallel.dp_shard=4")),
    "hsdp 2x2": (4, 4, ("parallel=hsdp", "parallel.dp_replicate=2", "parallel.dp_shard=2")),
    "pp 2, tp 2": (4, 1, ("parallel=pp_tp", "parallel.microbatches=4")),
    "tp 2, fsdp 4": (8, 4, ("parallel=fsdp_tp", "parallel.dp_shard=4")),
    "pp 2, fsdp 2, tp 2": (8, 2, ("parallel=pp_fsdp_tp", "parallel.dp_shard=2", "parallel.microbatches=2")),
}
MOVES = (
    [(a, b) for a in PLACES for b in PLACES if a != b]
    if FULL
    else [("fsdp 4", "one"), ("fsdp 4", "fsdp 3"), ("fsdp 4", "tp 2"), ("tp 2", "pp 2, named"), ("pp 2, named", "pp 2")]
)

ADAPTER = "+model.adapter={_target_: peft.LoraConfig, r: 4, lora_dropout: 0.0, target_modules: all-linear}"
ADAPTED_MOVES = MOVES if FULL else [("pp 2", "one"), ("tp 2", "pp 2, named")]


def case_at(place: str, *changes: str) -> Case:
    _, readers, layout = PLACES[place]
    rows = (f"trainer.per_device_train_batch_size={ROWS // readers}", "trainer.gradient_accumulation_steps=1")
    whole = (
        "dataset.packing=none",
        "dataset.overflow=truncate",
        f"trainer.max_steps={STEPS}",
        "trainer.eval_strategy=no",
    )
    return Case("llama_tied", layout, (*rows, *whole, *changes))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[Path, Path, Outcome]]:
    """The folder of all, the checkpoint that a layout has saved on its way, and what it has shown."""
    folder = tmp_path_factory.mktemp("moving")
    known: dict[tuple[str, ...], tuple[Path, Path, Outcome]] = {}

    def made(place: str, *changes: str) -> tuple[Path, Path, Outcome]:
        if (place, *changes) not in known:
            processes = PLACES[place][0]
            case = case_at(
                *(place, "trainer.save_strategy=steps", f"trainer.save_steps={SAVED}"),
                *("trainer.save_total_limit=3", f"trainer.save_processes={processes}", *changes),
            )
            outcome = carried_out(folder, [case], processes)[case]
            stored = {
                one.step: one
                for one in Store(folder / f"{processes}-{case.name}" / "out" / "checkpoints").list(quick=False)
            }
            assert stored[SAVED].valid, stored[SAVED].reason
            known[(place, *changes)] = folder, Path(stored[SAVED].path), outcome
        return known[(place, *changes)]

    return made


def test_each_example_is_read_once_an_epoch(saved: Callable[..., tuple[Path, Path, Outcome]]) -> None:
    read = [*chain.from_iterable(saved("one")[2].examples())]
    assert len(read) == STEPS * ROWS
    for epoch in range(2):
        assert sorted(Counter(read[epoch * EXAMPLES : (epoch + 1) * EXAMPLES]).values()) == [1] * EXAMPLES


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("before", "after"), MOVES)
def test_a_run_moves(saved: Callable[..., tuple[Path, Path, Outcome]], before: str, after: str) -> None:
    stored, began = moved(saved, before, after)
    loaded = {name: one for name, one in began.items() if name in stored}
    assert loaded.keys() == stored.keys() - {"lm_head.weight"}
    assert all(torch.equal(stored[name], one) for name, one in loaded.items())


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("before", "after"), ADAPTED_MOVES)
def test_an_adapter_moves(saved: Callable[..., tuple[Path, Path, Outcome]], before: str, after: str) -> None:
    stored, began = moved(saved, before, after, ADAPTER)
    loaded = {name.replace(".default.", "."): one for name, one in began.items() if "lora_" in name}
    assert loaded.keys() == stored.keys()
    assert len({name.partition("layers.")[2].partition(".")[0] for name in loaded}) == LAYERS
    assert all(torch.equal(stored[name], one) for name, one in loaded.items())


def moved(
    saved: Callable[..., tuple[Path, Path, Outcome]], before: str, after: str, *changes: str
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """What one layout has saved, and what another began with that went on from there as one process does without a stop."""
    folder, checkpoint, first = saved(before, *changes)
    alone = saved("one", *changes)[2]
    case = case_at(after, f"trainer.resume_from_checkpoint={checkpoint}", "trainer.save_strategy=no", *changes)
    found = carried_out(folder, [case], PLACES[after][0])[case]
    # Nothing is read twice, nothing is left out, in the same order.
    assert [*first.examples()[:SAVED], *found.examples()] == alone.examples()
    compare(case, found._replace(gradients={}), last_of(alone))
    # To the bit, whoever has cut it up.
    return {
        name: one for file in checkpoint.glob("*.safetensors") for name, one in load_file(file).items()
    }, found.began


def last_of(outcome: Outcome) -> Outcome:
    """What a run has shown after the checkpoint; of the first step nothing is known there."""
    return outcome._replace(
        losses=outcome.losses[SAVED:], norms=outcome.norms[SAVED:], tokens=outcome.tokens[SAVED:], gradients={}
    )


def test_weights_that_are_rounded_by_chance_go_on_to_the_bit(saved: Callable[..., tuple[Path, Path, Outcome]]) -> None:
    place, rounded = "fsdp 2", "model.dtype={_symbol_: torch.bfloat16}"
    folder, checkpoint, whole = saved(place, rounded)
    case = case_at(place, f"trainer.resume_from_checkpoint={checkpoint}", "trainer.save_strategy=no", rounded)
    found = carried_out(folder, [case], PLACES[place][0])[case]
    assert found.losses == whole.losses[SAVED:]
    assert found.weights.keys() == whole.weights.keys()
    assert all(torch.equal(found.weights[name], weight) for name, weight in whole.weights.items())
