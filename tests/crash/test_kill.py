"""SIGKILL at every system call that touches a file: what is found afterwards is the old or the new, whole."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from forge.ml.checkpoint.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import ModuleType

    from conftest import Ended, Strace

    from forge.ml.checkpoint.store import Checkpoint

FULL = os.environ.get("FORGE_FULL") == "1"
KILLED = -9
pytestmark = pytest.mark.slow


def killed(ended: Ended) -> bool:
    return ended.code in {KILLED, 128 - KILLED} or "killed by SIGKILL" in ended.log


def debris(folder: Path) -> list[str]:
    kept = {".writer.lock", ".changes.lock", "linked", "before-link"}
    return sorted(name for name in os.listdir(folder) if name not in kept and not name.startswith("checkpoint-"))


def is_what_was_saved(found: Checkpoint, child: ModuleType, step: int, size: int = 1000) -> bool:
    """Whether a checkpoint has every byte that belongs to this step."""
    assert found.manifest is not None
    expected = child.content(step, size)
    assert set(found.manifest.files) == set(expected)
    for name, value in expected.items():
        with open(os.path.join(found.path, name), "rb") as file:
            content = file.read()
        parts = [value] if isinstance(value, bytes) else [bytes(raw.data) for raw in value.values()]
        if not all(part in content for part in parts):
            return False
    return found.step == step


# A large one is written in several portions and hashed by a second thread.
@pytest.mark.parametrize("size", [1000, *([pytest.param(20_000_000, marks=pytest.mark.timeout(1800))] if FULL else [])])
def test_a_killed_save_leaves_the_old_checkpoint_or_the_new_one(
    strace: Strace, child: ModuleType, with_steps: Callable[..., Path], afresh: Callable[[Path], Path], size: int
) -> None:
    folder = with_steps(1, size=size)
    calls = strace.calls("save", afresh(folder), size)
    assert len(calls) >= 60
    seen = {1: 0, 2: 0}
    for call in calls:
        place = afresh(folder)
        ended = strace.inject("save", place, call, "signal=SIGKILL", size)
        assert killed(ended), call.text
        newest = Store(place / "checkpoints").newest()
        assert newest is not None, call.text
        assert newest.step == (2 if ended.renamed(".staging-") else 1), call.text
        assert is_what_was_saved(newest, child, newest.step, size), call.text
        seen[newest.step] += 1
        after = Store(place / "checkpoints")
        after.claim()  # the lock has died with its owner
        assert debris(place / "checkpoints") == [], call.text
        after.release()
    assert min(seen.values()) >= 2


def test_a_killed_save_can_be_made_again(
    strace: Strace, child: ModuleType, with_steps: Callable[..., Path], afresh: Callable[[Path], Path]
) -> None:
    folder = with_steps(1)
    for call in strace.calls("save", afresh(folder))[:: 1 if FULL else 9]:
        place = afresh(folder)
        strace.inject("save", place, call, "signal=SIGKILL")
        assert strace.run("save", place, "-e", "trace=none").code == 0
        newest = Store(place / "checkpoints").newest()
        assert newest is not None
        assert is_what_was_saved(newest, child, 2), call.text
        assert debris(place / "checkpoints") == []


def test_a_killed_removal_leaves_at_least_two_whole_checkpoints(
    strace: Strace, with_steps: Callable[..., Path], afresh: Callable[[Path], Path]
) -> None:
    folder = with_steps(1, 2, 3, 4)
    left = set()
    for call in strace.changes("prune", afresh(folder)):
        place = afresh(folder)
        assert killed(strace.inject("prune", place, call, "signal=SIGKILL")), call.text
        found = Store(place / "checkpoints").list(quick=False)
        assert all(one.valid for one in found), call.text  # what is half removed is not called a checkpoint
        assert [one.step for one in found][-2:] == [3, 4], call.text
        left.add(len(found))
        Store(place / "checkpoints").clean()
        assert debris(place / "checkpoints") == [], call.text
    assert left == {2, 3, 4}


@pytest.mark.parametrize("before", ["nothing", "another checkpoint", "weights of its own"])
def test_a_killed_link_shows_the_old_model_or_the_new_one(
    strace: Strace,
    child: ModuleType,
    with_steps: Callable[..., Path],
    afresh: Callable[[Path], Path],
    before: str,
) -> None:
    folder = with_steps(1, 2)
    old = {"nothing": None, "another checkpoint": 1, "weights of its own": 0}[before]
    if old == 0:
        (folder / "config.json").write_bytes(child.content(0, 1000)["config.json"])
        (folder / "model.safetensors").write_bytes(b"weights of step 0 ")
        (folder / "model.safetensors.index.json").write_bytes(b"{}")
    elif old == 1:
        assert strace.run("link", folder, "-e", "trace=none").code == 0
        os.unlink(folder / "checkpoints" / "linked")
        os.symlink("checkpoint-1", folder / "checkpoints" / "linked")
    shown = set()
    for call in strace.changes("link", afresh(folder)):
        place = afresh(folder)
        assert killed(strace.inject("link", place, call, "signal=SIGKILL")), call.text
        step = step_shown(place)
        assert step in {old, 2}, call.text
        shown.add(step)
        assert strace.run("link", place, "-e", "trace=none").code == 0, call.text
        assert step_shown(place) == 2, call.text
        assert [name for name in os.listdir(place) if name.startswith(".")] == [], call.text
        if old == 0:
            kept = place / "checkpoints" / "before-link" / "model.safetensors"
            assert kept.read_bytes() == b"weights of step 0 ", call.text
    assert shown == {old, 2}


def step_shown(folder: Path) -> int | None:
    """The step whose model a loader of this folder would take, None for no model; each file has to be of the same one."""
    config, weights = folder / "config.json", folder / "model.safetensors"
    if not config.is_file() and not weights.is_file():
        return None
    step = int(config.read_text().split(":")[1].strip(" }"))
    assert f"weights of step {step} ".encode() in weights.read_bytes()
    assert (folder / "tokenizer.json").is_file() is (step != 0)
    assert (folder / "model.safetensors.index.json").is_file() is (step == 0)
    return step


def test_a_killed_cleaning_is_done_by_the_next(
    strace: Strace, with_steps: Callable[..., Path], afresh: Callable[[Path], Path]
) -> None:
    folder = with_steps(1)
    for name in (".staging-5-1-abcd", ".trash-checkpoint-4-abcd"):
        (folder / "checkpoints" / name / "state").mkdir(parents=True)
        (folder / "checkpoints" / name / "state" / "x").write_text("x")
    for call in strace.changes("clean", afresh(folder)):
        place = afresh(folder)
        assert killed(strace.inject("clean", place, call, "signal=SIGKILL")), call.text
        store = Store(place / "checkpoints")
        store.claim()
        assert debris(place / "checkpoints") == [], call.text
        assert [one.valid for one in store.list(quick=False)] == [True], call.text
        store.release()
