from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from forge.base.errors import CheckpointError, ResumeError
from forge.ml.checkpoint.link import link
from forge.ml.checkpoint.store import Store, open_checkpoint
from forge.ml.checkpoint.verify import verify

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def names(store: Store) -> list[str]:
    return [found.name for found in store.list()]


def damage(path: str) -> None:
    with open(os.path.join(path, "model.safetensors"), "r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\xff")


def test_a_folder_that_is_not_there_has_no_checkpoints(store: Store) -> None:
    assert store.list() == []
    assert store.newest() is None
    assert store.linked is None
    assert store.clean() == []
    assert not os.path.exists(store.folder)  # looking makes nothing


def test_the_list_has_facts_scores_and_marks(store: Store, add: Callable[..., str]) -> None:
    add(1, score=3.0, run="a")
    add(2, score=1.0)
    path = add(3, score=2.0)
    first, second, third = store.list()
    assert (first.step, first.facts, first.valid, first.best, first.newest) == (1, {"run": "a"}, True, False, False)
    assert (second.best, second.newest) == (True, False)
    assert (third.best, third.newest, third.path, third.name) == (False, True, path, "checkpoint-3")
    assert third.score is not None
    assert third.score.value == 2.0
    assert third.saved.endswith("+00:00")
    assert third.size > 100
    assert [found.best for found in store.list(best=3)] == [False, False, True]


def test_other_things_in_the_folder_are_no_checkpoints(store: Store, add: Callable[..., str]) -> None:
    add(1)
    os.mkdir(os.path.join(store.folder, "checkpoint-old"))
    os.mkdir(os.path.join(store.folder, "notes"))
    with open(os.path.join(store.folder, "checkpoint-9"), "w", encoding="utf-8") as file:
        file.write("a file")
    assert names(store) == ["checkpoint-1"]


def test_the_same_step_is_saved_again_beside_the_first(store: Store, add: Callable[..., str]) -> None:
    paths = [add(100) for _ in range(3)]
    assert [os.path.basename(path) for path in paths] == ["checkpoint-100", "checkpoint-100-2", "checkpoint-100-3"]
    assert [verify(path) for path in paths] == [[], [], []]
    newest = store.newest()
    assert newest is not None
    assert newest.path == paths[-1]


def test_the_newest_is_the_one_saved_last_also_when_a_run_went_back(store: Store, add: Callable[..., str]) -> None:
    for step in (50, 100, 60):
        add(step)
    newest = store.newest()
    assert newest is not None
    assert newest.step == 60
    assert names(store) == ["checkpoint-50", "checkpoint-100", "checkpoint-60"]


def test_one_without_a_manifest_stands_where_its_step_belongs(store: Store, add: Callable[..., str]) -> None:
    for step in (10, 20, 30):
        add(step)
    os.unlink(os.path.join(store.folder, "checkpoint-20", "manifest.json"))
    os.mkdir(os.path.join(store.folder, "checkpoint-40"))  # another program's
    said: list[str] = []
    newest = store.newest(said.append)
    assert newest is not None
    assert newest.step == 30
    assert len(said) == 1
    assert "checkpoint-40 is skipped: manifest.json is missing" in said[0]
    add(35)
    newest = store.newest()
    assert newest is not None
    assert newest.step == 35
    assert newest.manifest is not None
    assert newest.manifest.sequence == 6  # those that cannot be read are counted


def test_a_quick_list_does_not_read_the_tensors(store: Store, add: Callable[..., str]) -> None:
    damage(add(1))
    assert [found.valid for found in store.list()] == [True]
    assert [found.reason for found in store.list(quick=False)] == [
        "model.safetensors is not as it was written: its hash differs"
    ]
    with pytest.raises(ResumeError, match="the only checkpoint cannot be used: checkpoint-1: model"):
        store.newest()


def test_a_checkpoint_is_opened_whole_or_not(store: Store, add: Callable[..., str]) -> None:
    path = add(3)
    assert open_checkpoint(path).step == 3
    damage(path)
    with pytest.raises(CheckpointError, match="cannot be used: model"):
        open_checkpoint(path)
    with pytest.raises(CheckpointError, match=r"there is no folder .*checkpoint-9"):
        open_checkpoint(os.path.join(store.folder, "checkpoint-9"))
    for folder in (store.folder, os.path.dirname(store.folder)):
        with pytest.raises(CheckpointError, match="it holds checkpoints, and is none") as caught:
            open_checkpoint(folder)
        assert str(caught.value.hint).endswith("checkpoints/checkpoint-3")
    os.mkdir(os.path.join(store.folder, "checkpoint-4"))
    with pytest.raises(CheckpointError, match=r"manifest\.json is missing"):
        open_checkpoint(os.path.join(store.folder, "checkpoint-4"))


@pytest.mark.parametrize(
    ("limit", "scores", "left"),
    [
        (None, [1, 2, 3, 4, 5], [1, 2, 3, 4, 5]),
        (9, [1, 2, 3, 4, 5], [1, 2, 3, 4, 5]),
        (3, [5, 4, 3, 2, 1], [3, 4, 5]),
        (3, [1, 2, 3, 4, 5], [1, 4, 5]),  # the best is one of them
        (1, [5, 4, 3, 2, 1], [4, 5]),  # and two always stay
        (1, [1, 2, 3, 4, 5], [1, 4, 5]),
        (2, [None, None, None, None, None], [4, 5]),
    ],
)
def test_the_oldest_go_and_the_best_and_two_stay(
    store: Store, add: Callable[..., str], limit: int | None, scores: list[float | None], left: list[int]
) -> None:
    for step, score in enumerate(scores, start=1):
        add(step, score=score)
    gone = store.prune(limit)
    assert [found.step for found in store.list()] == left
    assert len(gone) == 5 - len(left)
    assert not [name for name in os.listdir(store.folder) if name.startswith(".trash")]


def test_what_is_linked_told_to_be_best_or_not_whole_is_not_removed(store: Store, add: Callable[..., str]) -> None:
    for step in range(1, 8):
        add(step, score=step)
    link(store, os.path.join(store.folder, "checkpoint-2"))
    os.unlink(os.path.join(store.folder, "checkpoint-3", "config.json"))
    store.prune(1, best=4)
    assert [found.step for found in store.list()] == [2, 3, 4, 6, 7]


def test_where_nothing_was_saved_at_the_best_step_the_best_of_those_saved_stays(
    store: Store, add: Callable[..., str]
) -> None:
    for step, score in ((2, 3.0), (4, 1.0), (6, 2.0), (8, 2.5)):
        add(step, score=score)
    store.prune(2, best=5)
    assert [(found.step, found.best) for found in store.list(best=5)] == [(4, True), (6, False), (8, False)]


def test_of_one_that_lies_elsewhere_only_the_link_is_removed(
    store: Store, add: Callable[..., str], tmp_path: Path
) -> None:
    add(1)
    os.rename(os.path.join(store.folder, "checkpoint-1"), tmp_path / "elsewhere")
    os.symlink(tmp_path / "elsewhere", os.path.join(store.folder, "checkpoint-1"))
    for step in (2, 3):
        add(step)
    assert [os.path.basename(path) for path in store.prune(2)] == ["checkpoint-1"]
    assert not [name for name in os.listdir(store.folder) if name.startswith(".trash")]
    assert (tmp_path / "elsewhere" / "manifest.json").exists()


def test_removing_the_last_valid_one_has_to_be_forced(store: Store, add: Callable[..., str]) -> None:
    first, second = add(1), add(2)
    damage(first)  # a look at its size does not show it
    with pytest.raises(CheckpointError, match="it is the last valid checkpoint"):
        store.remove([second])
    with pytest.raises(CheckpointError, match="without them no valid checkpoint would be left"):
        store.remove([first, second])
    store.remove([first])
    store.remove([second], force=True)
    assert store.list() == []


def test_what_is_damaged_is_removed_where_nothing_is_valid_either(store: Store, add: Callable[..., str]) -> None:
    first, second = add(1), add(2)
    damage(first)
    damage(second)
    store.remove([first])
    store.remove([second])
    assert store.list() == []


def test_what_is_linked_is_removed_by_force_only(store: Store, add: Callable[..., str]) -> None:
    path = add(1)
    add(2)
    link(store, path)
    with pytest.raises(CheckpointError, match="checkpoint-1 is linked"):
        store.remove([path])
    store.remove([path], force=True)
    assert names(store) == ["checkpoint-2"]


@pytest.mark.parametrize("path", ["checkpoint-9", "../model", "../../x/checkpoint-1", ".writer.lock"])
def test_only_checkpoints_of_this_folder_are_removed(store: Store, add: Callable[..., str], path: str) -> None:
    add(1)
    add(2)
    with pytest.raises(CheckpointError, match="is not a checkpoint of"):
        store.remove([os.path.join(store.folder, path)], force=True)
    assert names(store) == ["checkpoint-1", "checkpoint-2"]


CHILD = """
import sys, time
from forge.ml.checkpoint.store import Store
store = Store(sys.argv[1])
stage = store.begin(5)
stage.write_bytes("config.json", b"{}")
print("ready", flush=True)
time.sleep(60)
"""


def test_a_second_process_is_refused_at_once_until_the_first_is_gone(store: Store) -> None:
    with subprocess.Popen([sys.executable, "-c", CHILD, store.folder], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        began = time.monotonic()
        with pytest.raises(CheckpointError, match=f"is being written to by process {child.pid} on "):
            store.claim()
        assert store.clean() == []  # what it is writing is left alone
        assert time.monotonic() - began < 1
        assert len([name for name in os.listdir(store.folder) if name.startswith(".staging-5-")]) == 1
        child.send_signal(signal.SIGKILL)
    store.claim()
    assert sorted(os.listdir(store.folder)) == [".writer.lock"]


def test_the_lock_dies_with_its_owner_also_when_a_forked_child_lives_on(store: Store) -> None:
    # A data loader's workers are forked from the process that saves, and may outlive it for a while.
    program = CHILD.replace(
        "time.sleep(60)", "import os\nif os.fork():\n    time.sleep(0.5)\n    os._exit(0)\ntime.sleep(3)"
    )
    done = subprocess.Popen([sys.executable, "-c", program, store.folder], stdout=subprocess.DEVNULL)
    assert done.wait() == 0
    store.claim()
    assert os.listdir(store.folder) == [".writer.lock"]


def test_debris_is_removed_by_the_next_who_writes_and_nothing_else_is(store: Store, add: Callable[..., str]) -> None:
    add(1)
    debris = [".staging-2-1-ab", ".trash-checkpoint-1-ab", f".forge-{'0' * 16}.tmp"]
    for name in debris[:2]:
        os.makedirs(os.path.join(store.folder, name, "state"))
    os.symlink("nowhere", os.path.join(store.folder, debris[2]))
    os.mkdir(os.path.join(store.folder, ".mine"))
    with store.begin(2) as stage:
        assert store.clean() == sorted(debris)
        assert os.path.isdir(stage.path)  # this process's own
    assert sorted(os.listdir(store.folder)) == [".mine", ".writer.lock", "checkpoint-1"]
    store.release()
    os.mkdir(os.path.join(store.folder, debris[0]))
    Store(store.folder).claim()
    assert not os.path.exists(os.path.join(store.folder, debris[0]))


def test_a_lock_can_be_taken_again_and_given_back(store: Store) -> None:
    store.claim()
    store.claim()
    other = Store(store.folder)
    with pytest.raises(CheckpointError):
        other.claim()
    store.release()
    store.release()
    other.claim()
    other.release()


def test_a_folder_that_cannot_be_made_is_an_error_of_forge(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(CheckpointError, match="cannot write"):
        Store(tmp_path / "file" / "checkpoints").claim()
    with pytest.raises(CheckpointError, match="Not a directory"):
        Store(tmp_path / "file" / "checkpoints").list()


def test_a_checkpoint_for_which_there_is_no_room_is_not_begun(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CheckpointError, match=r"[MGT]B of free space, and a checkpoint needs 1152921.5 TB"):
        store.begin(1, size=1 << 60)
    monkeypatch.setattr("forge.ml.checkpoint.store.free_space", lambda _: 3_000_000)
    with pytest.raises(CheckpointError, match=r"has 3.0 MB of free space, and a checkpoint needs 3.2 MB"):
        store.begin(1, size=2_200_000)
    assert [name for name in os.listdir(store.folder) if name.startswith(".staging")] == []
