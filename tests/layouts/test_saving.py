"""Checkpoints that several processes write: the same files for others, whoever wrote them. Test_moving goes on from them."""

from __future__ import annotations

import json
import os
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

pytestmark = [pytest.mark.torch, pytest.mark.slow]
torch = pytest.importorskip("torch")

sys.path.insert(0, str(Path(__file__).parent))

from cases import Case, Outcome, carried_out  # noqa: E402 - torch may be missing
from safetensors.torch import load_file  # noqa: E402 - as above

from forge.ml.checkpoint.state import read_state  # noqa: E402 - as above
from forge.ml.checkpoint.store import Store  # noqa: E402 - as above

if TYPE_CHECKING:
    from collections.abc import Callable

    from forge.ml.checkpoint.store import Checkpoint

STEPS = 2
SAVED = (
    f"trainer.max_steps={STEPS}",
    "trainer.save_strategy=steps",
    "trainer.save_steps=1",
    "trainer.save_total_limit=3",
)
BY_ALL = (*SAVED, "trainer.save_processes=2", "trainer.eval_strategy=no")
FSDP = ("parallel=fsdp", "parallel.dp_shard=2")
DDP = ("parallel=ddp", "parallel.dp_replicate=2")
TP = ("parallel=tp",)
PP = ("parallel=pp_gpipe", "parallel.microbatches=2")
LAYOUTS = (FSDP, PP, DDP, TP) if os.environ.get("FORGE_FULL") else (FSDP, PP)
WRITTEN = [Case("llama_tied", layout, BY_ALL) for layout in LAYOUTS] + [Case("qwen3_moe", FSDP, BY_ALL)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("saving")


@pytest.fixture(scope="module")
def written(folder: Path) -> Callable[[Case], Outcome]:
    """What a case has shown; only those that are asked for run."""
    return cache(lambda case: carried_out(folder, [case], 2)[case])


def checkpoint(folder: Path, case: Case, step: int) -> Checkpoint:
    found = {one.step: one for one in Store(folder / f"2-{case.name}" / "out" / "checkpoints").list(quick=False)}
    assert found[step].valid, found[step].reason
    return found[step]


@pytest.mark.parametrize("case", WRITTEN, ids=lambda case: case.name)
def test_each_process_has_written_its_share_and_others_load_it(
    folder: Path, written: Callable[[Case], Outcome], case: Case
) -> None:
    outcome = written(case)
    found = Path(checkpoint(folder, case, STEPS).path)
    sizes = [file.stat().st_size for file in sorted(found.glob("model-0000?-of-00002.safetensors"))]
    assert len(sizes) == 2
    assert min(sizes) > 0.3 * max(sizes)
    states = [file.stat().st_size for file in sorted((found / "state").glob("optimizer-0000?-of-00002.safetensors"))]
    assert len(states) == 2
    assert min(states) > 0.3 * max(states)
    assert not list(found.glob(".*"))
    assert outcome.losses
    loads(found, case, outcome)


def loads(path: Path, case: Case, outcome: Outcome) -> None:
    """Others load what the run had."""
    from transformers import AutoModelForCausalLM

    # torch shares a model among processes by giving it a class of another name.
    expected = {"llama_tied": "LlamaForCausalLM", "qwen3_moe": "Qwen3MoeForCausalLM"}[case.family]
    assert json.loads((path / "config.json").read_text())["architectures"] == [expected]
    loaded = dict(AutoModelForCausalLM.from_pretrained(path).named_parameters())
    for name, weight in outcome.weights.items():
        assert torch.equal(loaded[name], weight), name
    tensors = [name for file in path.glob("model-*.safetensors") for name in load_file(file)]
    assert len(tensors) == len(set(tensors))


def test_the_state_is_the_same_from_each_layout(folder: Path, written: Callable[[Case], Outcome]) -> None:
    cases = WRITTEN[: len(LAYOUTS)]
    assert all(written(case).losses for case in cases)
    states = [read_state(checkpoint(folder, case, STEPS).path)["optimizer"] for case in cases]
    for state in states:
        assert state["state"].keys() == states[0]["state"].keys()
        for number, remembered in state["state"].items():
            for key, value in remembered.items():
                assert torch.allclose(value, states[0]["state"][number][key], rtol=1e-3, atol=1e-6), (number, key)
