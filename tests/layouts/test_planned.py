"""What ``forge plan`` tells of the memory of a layout is what its processes have: within a tenth, at every place of a pipeline."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.torch, pytest.mark.slow]
pytest.importorskip("torch")

sys.path.insert(0, str(Path(__file__).parent))

from cases import Case, chosen, make_the_project  # noqa: E402 - torch may be missing
from small_run import WORDS  # noqa: E402 - as above

from forge.plan.make import make_plan  # noqa: E402 - as above
from forge.plan.read import read_run  # noqa: E402 - as above

FULL = os.environ.get("FORGE_FULL") == "1"
WORKER = Path(__file__).with_name("planned_worker.py")
NEAR = 0.1
TEXTS, LONG = 105, 600
LAYERS = (
    "model.config.num_hidden_layers=8",
    "model.config.num_attention_heads=8",
    "model.config.num_key_value_heads=8",
)
RUN = (
    *("trainer.max_steps=3", "trainer.eval_strategy=no", "trainer.save_strategy=no"),
    *(
        "trainer.gradient_accumulation_steps=1",
        "model.config.vocab_size=16384",
        "model.config.max_position_embeddings=512",
    ),
)
# 42 million parameters, so that everything else is little beside them; and as many layers of next to nothing.
LARGE = (*LAYERS, "model.config.hidden_size=512", "model.config.intermediate_size=1408", "dataset.max_length=512")
SMALL = (*LAYERS, "model.config.hidden_size=64", "model.config.intermediate_size=128", "dataset.max_length=32")
FSDP = ("parallel=fsdp", "parallel.dp_shard=2")
BF16, FOUR = "trainer.mixed_precision=bf16", "parallel.microbatches=4"
# Processes, rows of each, and the layout.
CASES: dict[str, tuple[int, int, tuple[str, ...]]] = {
    "alone": (1, 2, ()),
    "ddp": (2, 2, ("parallel=ddp", "parallel.dp_replicate=2")),
    "zero1": (2, 2, ("parallel=zero1", "parallel.dp_shard=2")),
    "zero2": (2, 2, ("parallel=zero2", "parallel.dp_shard=2")),
    "fsdp": (2, 2, FSDP),
    "fsdp, kept whole": (2, 2, (*FSDP, "parallel.reshard_after_forward=false")),
    "fsdp, checkpointed": (2, 4, (*FSDP, "trainer.gradient_checkpointing=true")),
    "fsdp, bf16 autocast": (2, 2, (*FSDP, BF16)),
    "fsdp, bf16 autocast, checkpointed": (2, 4, (*FSDP, BF16, "trainer.gradient_checkpointing=true")),
    "zero1, bf16 autocast": (2, 2, ("parallel=zero1", "parallel.dp_shard=2", BF16)),
    "zero2, bf16 autocast, two batches": (
        *(2, 2),
        ("parallel=zero2", "parallel.dp_shard=2", BF16, "trainer.gradient_accumulation_steps=2"),
    ),
    "tp": (2, 2, ("parallel=tp",)),
    "tp, whole rows and losses": (
        *(2, 2),
        ("parallel=tp", "parallel.sequence_parallel=false", "parallel.loss_parallel=false"),
    ),
    "cp": (2, 2, ("parallel=cp",)),
    **{
        name: (2, 4, (f"parallel={name}", FOUR))
        for name in ("pp_gpipe", "pp_1f1b", "pp_i1f1b", "pp_bfs", "pp_zb", "pp_zbv", "pp_dualpipe")
    },
    "hsdp": (4, 2, ("parallel=hsdp", "parallel.dp_shard=2")),
    "fsdp_tp": (4, 2, ("parallel=fsdp_tp", "parallel.dp_shard=2")),
    "cp_fsdp": (4, 2, ("parallel=cp_fsdp", "parallel.dp_shard=2")),
    "pp_fsdp": (4, 4, ("parallel=pp_fsdp", "parallel.dp_shard=2", FOUR)),
    "pp_tp": (4, 4, ("parallel=pp_tp", FOUR)),
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("planned") / "project"
    make_the_project(folder)
    words = random.Random(1)
    for number in range(TEXTS):  # so that there are rows to fill
        text = " ".join(words.choice(WORDS) for _ in range(LONG))
        (folder / "text" / f"long-{number:03}.txt").write_text(text)
    return folder


@pytest.mark.skipif(not FULL, reason="a minute each: FORGE_FULL=1 measures them")
@pytest.mark.parametrize("name", CASES)
def test_the_peak_is_what_was_planned(tmp_path: Path, project: Path, name: str) -> None:
    processes, rows, layout = CASES[name]
    changes = (*RUN, f"trainer.per_device_train_batch_size={rows}")
    handle = chosen(project, Case("llama", layout, (*LARGE, *changes)), tmp_path, processes)
    handle.freeze(tmp_path / "run")
    chosen(project, Case("llama", layout, (*SMALL, *changes)), tmp_path, processes).freeze(tmp_path / "small")
    reading = read_run(handle.graph.root, "trainer")
    assert reading is not None
    assert reading.layout is not None
    plan = make_plan(name, reading, layout=reading.layout, ranks=processes, device="cpu")
    assert not plan.refused
    found = measured(tmp_path, processes)
    each = processes // len(plan.memory)
    for place, told in enumerate(plan.memory):
        assert told.peak == pytest.approx(max(found[place * each : (place + 1) * each]), rel=NEAR), place


def measured(place: Path, processes: int) -> list[int]:
    """The most memory of each process of the run that is frozen there."""
    several = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    done = subprocess.run(
        [sys.executable, *(several if processes > 1 else []), str(WORKER), str(place)],
        # Freed memory goes back to the system at once, so that the peak is what is in use.
        env={
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "MALLOC_MMAP_THRESHOLD_": "65536",
            "MALLOC_TRIM_THRESHOLD_": "65536",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    found = [json.loads((place / f"peak-{rank}.json").read_text()) for rank in range(processes)]
    assert len(found) == processes
    return found
