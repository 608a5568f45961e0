"""Real runs of two processes of which one dies, hangs in every way there is, or loses its numbers: it is named, and nobody is left."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from forge.control.processes import family, identity

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Start, Until

pytestmark = [pytest.mark.torch, pytest.mark.slow]
FULL = bool(os.environ.get("FORGE_FULL"))
# In full below torchrun, and with the bound that a run has; else what takes longest, importing, is done once for both ranks.
BOUND = 30.0 if FULL else 6.0
FLAGS = ("--standalone", "--nproc-per-node=2") if FULL else ()
TITLES = {
    "kill": "casualty: rank 1 died: killed by SIGKILL",
    "sleep": "casualty: rank 1 hangs in ",
    "stop": "casualty: rank 1 hangs: a signal has stopped it (SIGSTOP)",
    "loop": "casualty: rank 1 hangs in hold_the_interpreter ",
    "missed": "casualty: rank 1 left out a collective in which the others wait",
    "nan": "casualty: rank 1 failed: step 4: the loss is nan, from rank 1",
    "raise": "casualty: rank 1 failed: ZeroDivisionError: nobody can be divided so",
}


@pytest.fixture
def frozen(run: Path, tmp_path: Path) -> Callable[..., None]:
    """Freezes a small run into the run folder."""
    sys.path.insert(0, str(Path(__file__).parent.parent / "resume"))
    from small_run import make_project

    import forge

    def freeze(*overrides: str) -> None:
        fixed = ("trainer.eval_strategy=no", "trainer.max_steps=8", "trainer.save_steps=2", "parallel=ddp")
        more = (f"trainer.hang_seconds={BOUND}", f"trainer.output_dir={tmp_path}/out", "callback=nonfinite")
        forge.open(make_project(tmp_path / "small")).config("run", *fixed, *more, *overrides).freeze(str(run))

    return freeze


SOME = ("loop", "missed", "nan")  # what no stand-in for a training can show


def _went_wrong(run: Path) -> bool:
    return bool((run / "went-wrong").exists() and (run / "went-wrong").read_text())


@pytest.mark.timeout(300)
@pytest.mark.parametrize("fault", sorted(TITLES if FULL else SOME))
def test_the_rank_is_named(start: Start, run: Path, until: Until, frozen: Callable[..., None], fault: str) -> None:
    frozen()
    process = start(*FLAGS, how="", module="faulty", agent="forking_agent", FAULT=fault)
    until(lambda: _went_wrong(run), 120)
    root = identity(process.pid)
    assert root is not None
    members = family([root])
    page = run / "casualty.txt"
    until(page.exists, BOUND + 30)
    named = time.time()
    process.communicate(timeout=60)
    ended = time.time()
    assert process.returncode == 1
    assert all(identity(who.pid) != who for who in members)
    text = page.read_text()
    assert text.startswith(TITLES[fault])
    assert len(text.splitlines()) <= 60
    for rank in (0, 1):
        alone = f"rank {rank}, innermost call first"
        assert alone in text or "ranks 0-1, innermost call first" in text
    took = named - float((run / "went-wrong").read_text())
    hangs = fault in {"sleep", "stop", "loop", "missed"}
    print(f"{fault}: named after {took:.1f} s, all gone {ended - named:.1f} s later")  # noqa: T201 - what is measured
    assert took < (BOUND if hangs else 0) + 30
    assert ended - named < 30


@pytest.mark.skipif(not FULL, reason="each takes half a minute: set FORGE_FULL=1")
@pytest.mark.timeout(300)
@pytest.mark.parametrize("fault", ["kill", "stop"])
def test_torchrun_starts_it_again_from_the_newest_checkpoint(
    start: Start, run: Path, tmp_path: Path, frozen: Callable[..., None], fault: str
) -> None:
    frozen("trainer.resume_from_checkpoint=auto", "trainer.hang_seconds=5.0")
    process = start(
        "--standalone", "--nproc-per-node=2", "--max-restarts=1", how="", module="faulty", FAULT=fault, AT="5"
    )
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 0
    assert f"continuing from {tmp_path}/out/checkpoints/checkpoint-" in errors
    assert (
        "torchrun starts them again (once more), from the newest checkpoint if there is one"
        in (run / "casualty.txt").read_text()
    )
    steps = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert steps[-1]["step"] == 8
