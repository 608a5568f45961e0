"""What watches a run does so on several processes: it names the module that one process would name, and samples are the same text."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.torch, pytest.mark.slow]
pytest.importorskip("torch")

sys.path.insert(0, str(Path(__file__).parent))

from cases import Case, tried_out  # noqa: E402 - torch may be missing

FULL = os.environ.get("FORGE_FULL") == "1"
LAYOUTS = {
    "fsdp": ("parallel=fsdp", "parallel.dp_shard=2"),
    "pp": ("parallel=pp_1f1b", "parallel.microbatches=4"),
    "tp": ("parallel=tp",),
    "cp": ("parallel=cp",),
    "folded": ("parallel=pp_zbv", "parallel.microbatches=4"),
    "ddp": ("parallel=ddp", "parallel.dp_replicate=2"),
}
BROKEN = ("callback=nonfinite", "optimizer=sgd", "optimizer.lr=1e30", "trainer.max_steps=4", "trainer.eval_strategy=no")
SAMPLED = ("callback=samples", "callback.samples.prompts=[the quick, a lazy dog]", "callback.samples.max_new_tokens=5")
SHORT = ("trainer.max_steps=2", "trainer.eval_strategy=no")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("watched")


def complaint(folder: Path, layout: tuple[str, ...], processes: int) -> tuple[str, str]:
    """The step, and the module that is named, of a run that breaks."""
    with pytest.raises(AssertionError) as caught:
        tried_out(folder, Case("llama", layout, BROKEN), processes)
    found = re.search(
        r"step (\d+): .*?the output of ([\w.]+) \(\w+\) is the first that is not finite", str(caught.value)
    )
    assert found is not None, str(caught.value)
    return found[1], found[2]


def test_the_module_that_is_named_is_that_of_one_process(folder: Path) -> None:
    wanted = complaint(folder, (), 1)
    for name in LAYOUTS if FULL else ("fsdp", "pp"):
        assert complaint(folder, LAYOUTS[name], 2) == wanted, name


def samples(folder: Path, layout: tuple[str, ...], processes: int) -> list[str]:
    place = tried_out(folder, Case("llama", layout, (*SAMPLED, *SHORT)), processes)
    return [json.loads(line)["text"] for line in (place / "run" / "samples.jsonl").read_text().splitlines()]


def test_samples_are_those_of_one_process(folder: Path) -> None:
    wanted = samples(folder, (), 1)
    assert len(wanted) == 2
    assert all(wanted)
    for name in LAYOUTS if FULL else ("tp", "pp"):
        assert samples(folder, LAYOUTS[name], 2) == wanted, name
