"""A disk that fails at any one system call, or is full: the old checkpoint stays, the error is one of forge's own."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from forge.base.errors import CheckpointError
from forge.ml.checkpoint.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import ModuleType

    from conftest import Strace

    from forge.ml.checkpoint.stage import Stage

FULL = os.environ.get("FORGE_FULL") == "1"
pytestmark = pytest.mark.slow


def debris(folder: Path) -> list[str]:
    kept = {".writer.lock", ".changes.lock", "linked", "before-link"}
    return sorted(name for name in os.listdir(folder) if name not in kept and not name.startswith("checkpoint-"))


@pytest.mark.parametrize("error", ["ENOSPC", "EIO", *(["EDQUOT"] if FULL else [])])
@pytest.mark.parametrize("action", ["save", "prune", "link", "clean"])
def test_an_error_of_the_disk_leaves_the_old_checkpoints(
    strace: Strace, with_steps: Callable[..., Path], afresh: Callable[[Path], Path], action: str, error: str
) -> None:
    folder = with_steps(1) if action == "save" else with_steps(1, 2, 3)
    if action == "clean":
        (folder / "checkpoints" / ".staging-5-1-abcd" / "state").mkdir(parents=True)
        (folder / "checkpoints" / ".staging-5-1-abcd" / "x").write_text("x")
    before = {found.step for found in Store(folder / "checkpoints").list()}
    told = 0
    every = action == "save" and error == "EIO"
    calls = strace.calls(action, afresh(folder)) if every else strace.changes(action, afresh(folder))
    for call in calls:
        place = afresh(folder)
        ended = strace.inject(action, place, call, f"error={error}")
        assert ended.code in {0, 3}, f"{call.text}\n{ended.errors}"
        assert "INJECTED" in ended.log, call.text
        if ended.code == 3:
            told += 1
            assert 1 <= len(ended.report["error"].splitlines()) <= 3, call.text
            assert ended.report["seconds"] <= 5, call.text  # nothing is tried again and again
        found = Store(place / "checkpoints").list(quick=False)
        assert all(one.valid for one in found), call.text
        steps = {one.step for one in found}
        if action == "save":
            assert before <= steps, call.text
            assert ended.code == 3 or 2 in steps, call.text
        elif action == "prune":
            assert {2, 3} <= steps <= before, call.text
        else:
            assert steps == before, call.text
        after = Store(place / "checkpoints")
        after.claim()
        assert debris(place / "checkpoints") == [], call.text
        after.release()
    assert told >= 5


def test_a_failed_write_says_what_is_wrong_and_what_to_do(strace: Strace, with_steps: Callable[..., Path]) -> None:
    folder = with_steps(1)
    call = next(call for call in strace.calls("save", folder) if call.name == "writev")
    error = strace.inject("save", folder, call, "error=ENOSPC").report["error"]
    assert error.startswith("step 2 was not saved: cannot write ")
    assert "config.json: No space left on device\n" in error
    assert "the disk is full" in error
    assert error.endswith("free some space, or write to another place")


def fill(stage: Stage, megabytes: int) -> None:
    for number in range(megabytes):
        stage.write_bytes(f"{number}.bin", b"x" * 1_000_000)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(place)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"may not mount here: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_is_refused_before_anything_is_written(small_disk: Path, child: ModuleType) -> None:
    store = Store(small_disk / "model" / "checkpoints")
    child.save(store, 1, 5_000_000)
    with pytest.raises(CheckpointError, match=r"a checkpoint needs 81\.0 MB") as caught:
        store.begin(2, 80_000_000)
    assert "--save-total-limit" in str(caught.value)
    assert debris(small_disk / "model" / "checkpoints") == []
    store.release()


def test_a_disk_that_gets_full_leaves_the_old_checkpoints_and_no_debris(small_disk: Path, child: ModuleType) -> None:
    store = Store(small_disk / "model" / "checkpoints")
    child.save(store, 1, 5_000_000)
    (small_disk / "other").write_bytes(b"x" * 40_000_000)
    with store.begin(2) as stage, pytest.raises(CheckpointError, match="No space left on device") as caught:
        fill(stage, 100)
    assert "the disk is full" in str(caught.value)
    assert debris(small_disk / "model" / "checkpoints") == []
    newest = store.newest()
    assert newest is not None
    assert newest.step == 1
    (small_disk / "other").unlink()
    child.save(store, 2, 5_000_000)
    assert [found.step for found in store.list(quick=False) if found.valid] == [1, 2]
    store.release()
