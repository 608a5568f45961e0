"""Every layout gives the losses, the gradients and the weights of one process."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

pytestmark = [pytest.mark.torch, pytest.mark.slow]
pytest.importorskip("torch")

sys.path.insert(0, str(Path(__file__).parent))

from cases import FAMILIES, Apart, Case, Outcome, apart, carried_out  # noqa: E402 - torch may be missing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

FULL = os.environ.get("FORGE_FULL") == "1"
DDP = ("parallel=ddp", "parallel.dp_replicate=2")
FSDP = ("parallel=fsdp", "parallel.dp_shard=2")
ZERO1 = ("parallel=zero1", "parallel.dp_shard=2")
ZERO2 = ("parallel=zero2", "parallel.dp_shard=2")
CP = ("parallel=cp", "parallel.cp=2")
HSDP = ("parallel=hsdp", "parallel.dp_replicate=2", "parallel.dp_shard=2")
CP_FSDP = ("parallel=cp_fsdp", "parallel.cp=2", "parallel.dp_shard=2")
ON_TWO = (DDP, FSDP, ZERO1, ZERO2, CP)
ON_FOUR = (HSDP, CP_FSDP) if FULL else (HSDP,)
# Stages that nobody would call balanced.
NAMED = (
    ("parallel=pp_1f1b", "parallel.microbatches=8", "parallel.stage_layers=[1,3]"),
    ("parallel=pp_gpipe", "parallel.microbatches=8", "parallel.stage_layers=[3,1]"),
)
FEW = ("llama",)
# Together with what saves memory and with other settings of a run; these are compared with one process that has them too.
CHANGES = (
    ("trainer.gradient_checkpointing=true",),
    ("trainer.gradient_checkpointing=selective", "trainer.max_grad_norm=0.5"),
    ("model.dtype._symbol_=torch.bfloat16",),
    ("trainer.mixed_precision=bf16",),
    ("dataset.packing=none", "dataset.overflow=truncate"),
    ("optimizer=muon", "optimizer.lr=0.01"),
    ("optimizer=sgd", "optimizer.lr=0.1"),
)
QUICK = (CHANGES[3], CHANGES[5])
INSIDE = (  # the optimizer inside the backward pass
    *("trainer.fuse_optim_with_backward=true", "trainer.max_grad_norm=null", "trainer.gradient_accumulation_steps=1"),
)
# How far figures may be from those of one process: float32 to the last digits, what is rounded more coarsely as far, and float64.
EXACT, COARSE = 1e-5, 2e-2
WIDE = Apart(losses=1e-9, first_norm=1e-13, norms=1e-7, evaluations=1e-9, gradients=1e-13, weights=1e-8)


@pytest.fixture(scope="module")
def carried(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict[Case, Outcome]]:
    folder = tmp_path_factory.mktemp("layouts")
    kept: dict[Case, Outcome] = {}

    def run(cases: Sequence[Case], processes: int) -> dict[Case, Outcome]:
        alone = {Case(case.family, (), case.changes) for case in cases} - kept.keys()
        if alone:
            kept.update(carried_out(folder, sorted(alone), 1))
        new = [case for case in cases if case not in kept]
        if new:
            kept.update(carried_out(folder, new, processes))
        return kept

    return run


def check(found: dict[Case, Outcome], cases: Sequence[Case]) -> None:
    for case in cases:
        compare(case, found[case], found[Case(case.family, (), case.changes)])


def compare(case: Case, there: Outcome, alone: Outcome, further: float = 1.0) -> None:
    # Muon makes matrices orthogonal in bfloat16.
    coarse = any(word in change for change in case.changes for word in ("bf16", "bfloat16", "muon"))
    bound = COARSE if coarse else further * EXACT
    found = apart(there, alone)
    assert all((weight.dtype.itemsize == 8) == case.wide for weight in there.weights.values())
    # One process that begins with weights changed in their last digit goes as far apart: its norms after the first step by 2e-2 where
    # one jumps from step to step (gemma2), its evaluations by 1.2e-5 (assembled). The gradients of the first step tell more. Last weights
    # may differ most where a gradient is zero but for rounding, of which Adam makes steps of 0.01 all the same: the keys' biases of gpt2.
    bounds = (
        WIDE
        if case.wide
        else Apart(bound, 10 * bound, 10 * bound if coarse else COARSE, 3 * bound, 10 * bound, 200 * bound)
    )
    wrong = {name: value for name, value in found._asdict().items() if not value <= getattr(bounds, name)}
    assert not wrong, f"{case}: {wrong}"


def test_two_processes(carried: Callable[..., dict[Case, Outcome]]) -> None:
    families = FAMILIES if FULL else FEW
    cases = [Case(family, layout) for family in families for layout in ON_TWO]
    check(carried(cases, 2), cases)


def test_four_processes(carried: Callable[..., dict[Case, Outcome]]) -> None:
    families = FAMILIES if FULL else FEW[:1]
    cases = [Case(family, layout) for family in families for layout in ON_FOUR]
    check(carried(cases, 4), cases)


def test_with_other_settings(carried: Callable[..., dict[Case, Outcome]]) -> None:
    layouts = ON_TWO if FULL else (FSDP,)
    cases = [Case("llama", layout, changes) for layout in layouts for changes in (CHANGES if FULL else QUICK)]
    check(carried(cases, 2), cases)


def test_with_the_optimizer_inside_the_backward_pass(carried: Callable[..., dict[Case, Outcome]]) -> None:
    layouts = (FSDP, ZERO1, ZERO2, ("parallel=tp",)) if FULL else (FSDP,)
    cases = [Case("llama_tied", layout, INSIDE) for layout in layouts]
    check(carried(cases, 2), cases)
    if FULL:
        cases = [
            Case("llama_tied", layout, INSIDE)
            for layout in (HSDP, CP_FSDP, ("parallel=fsdp_tp", "parallel.dp_shard=2"))
        ]
        check(carried(cases, 4), cases)


def test_stages_with_the_layers_that_are_named(carried: Callable[..., dict[Case, Outcome]]) -> None:
    cases = [Case("llama_tied", layout) for layout in (NAMED if FULL else NAMED[:1])]
    check(carried(cases, 2), cases)


def test_compiled_layers_with_rows_in_pieces(tmp_path: Path) -> None:
    few = ("trainer.max_steps=3", "trainer.eval_strategy=no")
    plain, compiled = Case("llama", (), few), Case("llama", CP, (*few, "trainer.torch_compile=true"))
    found = carried_out(tmp_path, [compiled], 2)[compiled]
    (log,) = tmp_path.glob("2-*/log-0")
    assert "layers are compiled" in log.read_text()
    compare(compiled, found, carried_out(tmp_path, [plain], 1)[plain])


def test_each_example_is_learned_from_once(carried: Callable[..., dict[Case, Outcome]]) -> None:
    case = Case("llama", DDP)
    found = carried([case], 2)
    there, alone = found[case].examples(), found[Case("llama")].examples()
    assert [sorted(step) for step in there] == [sorted(step) for step in alone]
