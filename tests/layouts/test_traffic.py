"""What ``forge plan`` tells of the bytes between processes is what they hand to one another in a step: along each dimension, within a tenth."""

from __future__ import annotations

import json
import os
import random
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

pytestmark = [pytest.mark.torch, pytest.mark.slow]
torch = pytest.importorskip("torch")

sys.path.insert(0, str(Path(__file__).parent))

import torch.distributed as dist  # noqa: E402 - torch may be missing
from cases import Case, Starter, chosen, make_the_project  # noqa: E402 - as above
from sent import Sent  # noqa: E402 - as above
from small_run import WORDS  # noqa: E402 - as above
from torch.distributed.tensor import DTensor, Replicate, Shard, init_device_mesh  # noqa: E402 - as above
from torch.testing._internal.distributed.fake_pg import FakeStore  # noqa: E402 - as above

from forge.plan.make import make_plan  # noqa: E402 - as above
from forge.plan.read import read_run  # noqa: E402 - as above

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FULL = os.environ.get("FORGE_FULL") == "1"
WORKER = Path(__file__).with_name("sent_worker.py")
NEAR = 0.1
TEXTS, LONG = 105, 600  # so that there are rows to fill
# Rows that need no filling: a processor rounds their lengths up.
SIZE = (
    *("model.config.num_hidden_layers=8", "model.config.hidden_size=64", "model.config.intermediate_size=176"),
    *("model.config.vocab_size=512", "model.config.max_position_embeddings=256", "dataset.max_length=256"),
    *("trainer.max_steps=2", "trainer.eval_strategy=no", "trainer.save_strategy=no"),
)
AGAIN, BF16 = "trainer.gradient_checkpointing=true", "trainer.mixed_precision=bf16"
FOUR = "parallel.microbatches=4"
WHOLE = ("parallel=tp", "parallel.sequence_parallel=false", "parallel.loss_parallel=false")
# By the name of the group as a run calls it.
DIMENSIONS = {"pp": "pp", "replicate": "dp_replicate", "shard": "dp_shard", "tp": "tp", "cp": "cp"}
FEW_BYTES = 100  # counts and losses, which go through groups of their own


class Measured(NamedTuple):
    """A layout, and what else of a run decides how much it sends."""

    processes: int
    layout: tuple[str, ...]
    changes: tuple[str, ...] = ()
    rows: int = 2
    accumulation: int = 1
    family: str = "llama"


def _shared(name: str, *changes: str, accumulation: int = 1, family: str = "llama") -> Measured:
    degree = "dp_replicate" if name == "ddp" else "dp_shard"
    return Measured(2, (f"parallel={name}", f"parallel.{degree}=2"), changes, 2, accumulation, family)


def _piped(name: str, *changes: str, places: int = 2, rows: int = 4, family: str = "llama") -> Measured:
    layout = (f"parallel={name}", f"parallel.microbatches={rows}", f"parallel.pp={places}")
    return Measured(places, layout, changes, rows, 1, family)


QUICK = {
    "zero2, two batches": _shared("zero2", accumulation=2),
    "tp, checkpointed, bf16": Measured(2, ("parallel=tp",), (AGAIN, BF16)),
    "pp_i1f1b, tied": _piped("pp_i1f1b", family="llama_tied"),
}
CASES = QUICK | {
    "ddp": _shared("ddp"),
    "ddp, LoRA": _shared("ddp", "+adapter@model.adapter=lora"),
    "zero1, two batches": _shared("zero1", accumulation=2),
    "fsdp": _shared("fsdp"),
    "fsdp, two batches": _shared("fsdp", accumulation=2),
    "fsdp, tied, checkpointed": _shared("fsdp", AGAIN, family="llama_tied"),
    "fsdp, kept whole": _shared("fsdp", "parallel.reshard_after_forward=false"),
    "fsdp, bf16": _shared("fsdp", BF16),
    "fsdp, bf16, checkpointed, two batches": _shared("fsdp", AGAIN, BF16, accumulation=2),
    "fsdp, bf16, LoRA": _shared("fsdp", BF16, "+adapter@model.adapter=lora"),
    "fsdp, bf16, experts": _shared("fsdp", BF16, family="qwen3_moe"),
    "zero1, bf16, two batches": _shared("zero1", BF16, accumulation=2),
    "hsdp, bf16": Measured(4, ("parallel=hsdp", "parallel.dp_shard=2"), (BF16,)),
    "fsdp_tp, bf16": Measured(4, ("parallel=fsdp_tp", "parallel.dp_shard=2"), (BF16,)),
    "pp_fsdp, bf16": Measured(4, ("parallel=pp_fsdp", "parallel.dp_shard=2", FOUR), (BF16,), rows=4),
    "fsdp, LoRA": _shared("fsdp", "+adapter@model.adapter=lora"),
    "hsdp, two batches": Measured(4, ("parallel=hsdp", "parallel.dp_shard=2"), accumulation=2),
    "tp": Measured(2, ("parallel=tp",)),
    "tp, two batches": Measured(2, ("parallel=tp",), accumulation=2),
    "tp, whole rows and losses": Measured(2, WHOLE),
    "tp, whole, checkpointed": Measured(2, WHOLE, (AGAIN,)),
    "tp, whole, bf16": Measured(2, WHOLE, (BF16,)),
    "tp, phi3": Measured(2, ("parallel=tp",), family="phi3"),
    "tp, experts, bf16": Measured(2, ("parallel=tp",), (AGAIN, BF16), family="qwen3_moe"),
    "tp, ddp": Measured(4, ("parallel=tp", "parallel.dp_replicate=2")),
    "cp": Measured(2, ("parallel=cp",)),
    "cp, checkpointed, bf16": Measured(2, ("parallel=cp",), (AGAIN, BF16)),
    "cp_fsdp": Measured(4, ("parallel=cp_fsdp", "parallel.dp_shard=2")),
    "tp, cp": Measured(4, ("parallel=tp", "parallel.cp=2")),
    **{name: _piped(name) for name in ("pp_gpipe", "pp_bfs", "pp_zb", "pp_zbv", "pp_dualpipe")},
    "pp_1f1b, tied": _piped("pp_1f1b", family="llama_tied"),
    "pp_1f1b 4": _piped("pp_1f1b", places=4),
    "pp_zbv 4": _piped("pp_zbv", places=4, rows=8),
    "pp_fsdp, tied": Measured(4, ("parallel=pp_fsdp", "parallel.dp_shard=2", FOUR), rows=4, family="llama_tied"),
    "pp, zero2": Measured(4, ("parallel=pp_fsdp", "parallel.zero_stage=2", "parallel.dp_shard=2", FOUR), rows=4),
    "pp, ddp": Measured(4, ("parallel=pp_1f1b", "parallel.dp_replicate=2", FOUR), rows=4),
    "pp_tp": Measured(4, ("parallel=pp_tp", FOUR), rows=4),
    "fsdp_tp, two batches": Measured(4, ("parallel=fsdp_tp", "parallel.dp_shard=2"), accumulation=2),
}


@cache
def starter() -> Starter:
    return Starter(WORKER)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("traffic") / "project"
    make_the_project(folder)
    words = random.Random(1)
    for number in range(TEXTS):
        text = " ".join(words.choice(WORDS) for _ in range(LONG))
        (folder / "text" / f"long-{number:03}.txt").write_text(text)
    yield folder
    if starter.cache_info().currsize:
        starter().end()
        starter.cache_clear()


@pytest.mark.parametrize("name", CASES if FULL else QUICK)
def test_what_is_sent_is_what_was_planned(tmp_path: Path, project: Path, name: str) -> None:
    case = CASES[name]
    changes = (
        *(*SIZE, f"trainer.per_device_train_batch_size={case.rows}"),
        *(f"trainer.gradient_accumulation_steps={case.accumulation}", *case.changes),
    )
    handle = chosen(project, Case(case.family, case.layout, changes), tmp_path, case.processes)
    handle.freeze(tmp_path / "run")
    reading = read_run(handle.graph.root, "trainer")
    assert reading is not None
    assert reading.layout is not None
    plan = make_plan(name, reading, layout=reading.layout, ranks=case.processes, device="cpu")
    assert not plan.refused
    told: dict[str, float] = {}
    for one in plan.sent:
        told[one.dimension] = told.get(one.dimension, 0.0) + one.size
    wrong = starter().carry_out(tmp_path, case.processes, wide=False)
    assert not wrong, wrong
    found = [_sent(tmp_path / f"sent-{rank}.json") for rank in range(case.processes)]
    most = {name: max(each.get(name, 0.0) for each in found) for name in DIMENSIONS.values()}
    assert {name: size for name, size in most.items() if size > FEW_BYTES} == {
        name: pytest.approx(size, rel=NEAR) for name, size in told.items()
    }


def _sent(file: Path) -> dict[str, float]:
    """What a process sent in a step, by dimension; what goes through other groups is next to nothing."""
    found: dict[str, float] = {}
    others = 0.0
    for group, _operation, size in json.loads(file.read_text()):
        if group in DIMENSIONS:
            found[DIMENSIONS[group]] = found.get(DIMENSIONS[group], 0.0) + size
        else:
            others += size
    assert others <= FEW_BYTES
    return found


RANKS, NUMBERS = 4, 1024
TRACED = torch.ops._c10d_functional


def _whole(tensor: torch.Tensor) -> None:
    mesh = init_device_mesh("cpu", (RANKS,))
    DTensor.from_local(tensor, mesh, [Shard(0)]).redistribute(placements=[Replicate()])


@pytest.mark.parametrize(
    ("act", "sent"),
    [
        (dist.all_reduce, 6 * NUMBERS),
        (lambda tensor: dist.group.WORLD._allgather_base(tensor.repeat(RANKS), tensor), 12 * NUMBERS),
        (lambda tensor: dist.all_gather([tensor] * RANKS, tensor), 12 * NUMBERS),
        (lambda tensor: dist.group.WORLD._reduce_scatter_base(tensor.chunk(RANKS)[0].clone(), tensor), 3 * NUMBERS),
        (lambda tensor: dist.all_to_all_single(tensor.clone(), tensor), 3 * NUMBERS),
        (lambda tensor: dist.send(tensor, 1), 4 * NUMBERS),
        (lambda tensor: dist.recv(tensor, 1), 0),
        (lambda tensor: TRACED.wait_tensor(TRACED.all_reduce(tensor, "sum", "0")), 6 * NUMBERS),
        (lambda tensor: TRACED.wait_tensor(TRACED.all_gather_into_tensor(tensor, RANKS, "0")), 12 * NUMBERS),
        (lambda tensor: TRACED.wait_tensor(TRACED.reduce_scatter_tensor(tensor, "sum", RANKS, "0")), 3 * NUMBERS),
        (_whole, 12 * NUMBERS),
    ],
)
def test_what_is_counted_is_what_goes_round_a_ring(act: Callable[[torch.Tensor], object], sent: int) -> None:
    """Of four processes, by hand: of a sum 3/4 twice, of pieces three, of a sum into pieces and of an exchange 3/4."""
    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=RANKS)
    try:
        with Sent() as counted:
            act(torch.ones(NUMBERS))
    finally:
        dist.destroy_process_group()
    assert sum(counted.bytes.values()) == sent
