from __future__ import annotations

import errno
import json
import os
from typing import TYPE_CHECKING

import pytest

from forge.base.errors import CheckpointError
from forge.ml.checkpoint.manifest import Score, read_manifest
from forge.ml.checkpoint.tensors import Raw, read_tensors
from forge.ml.checkpoint.verify import verify

if TYPE_CHECKING:
    from forge.ml.checkpoint.store import Store


def test_a_checkpoint_is_there_with_the_commit_and_not_before(store: Store) -> None:
    with store.begin(7) as stage:
        stage.write_bytes("config.json", b"{}")
        stage.write_json("state/state.json", {"ä": [1, None]})
        stage.write_tensors("model.safetensors", {"w": Raw("F32", (2,), b"12345678")})
        assert store.list() == []
        path = stage.commit({"loss": 0.5}, Score("eval_loss", 2))
    assert os.path.basename(path) == "checkpoint-7"
    assert verify(path) == []
    manifest = read_manifest(path)
    assert sorted(manifest.files) == ["config.json", "model.safetensors", "state/state.json"]
    assert (manifest.step, manifest.facts, manifest.score) == (7, {"loss": 0.5}, Score("eval_loss", 2.0))
    assert read_tensors(os.path.join(path, "model.safetensors"))["w"].shape == (2,)
    with open(os.path.join(path, "state", "state.json"), encoding="utf-8") as file:
        assert json.load(file) == {"ä": [1, None]}


def test_a_block_that_fails_leaves_nothing(store: Store) -> None:
    with pytest.raises(KeyboardInterrupt), store.begin(7) as stage:  # noqa: PT012 - what happens inside is what is tested
        stage.write_bytes("config.json", b"{}")
        raise KeyboardInterrupt
    with store.begin(8) as stage:
        stage.write_bytes("config.json", b"{}")
    assert sorted(os.listdir(store.folder)) == [".writer.lock"]


def test_a_file_of_somebody_else_can_be_part_of_it(store: Store) -> None:
    with store.begin(1) as stage:
        os.mkdir(os.path.join(stage.path, "adapter"))
        with open(os.path.join(stage.path, "adapter", "x.json"), "w", encoding="utf-8") as file:
            file.write("[]")
        stage.adopt("adapter/x.json")
        with pytest.raises(CheckpointError, match="step 1 was not saved"):
            stage.adopt("nothing.json")
        path = stage.commit()
    assert verify(path) == []
    assert list(read_manifest(path).files) == ["adapter/x.json"]


@pytest.mark.parametrize("name", ["../x", "/x", ".x", "manifest.json", "config.json"])
def test_names_that_would_leave_the_folder_or_come_twice_are_refused(store: Store, name: str) -> None:
    with store.begin(1) as stage:
        stage.write_bytes("config.json", b"{}")
        with pytest.raises(CheckpointError):
            stage.write_bytes(name, b"")


def test_an_evaluation_that_came_to_no_number_is_no_score(store: Store) -> None:
    with store.begin(1) as stage:
        path = stage.commit(score=Score("eval_loss", float("nan")))
    assert read_manifest(path).score is None


def test_a_commit_never_takes_the_place_of_anything(store: Store) -> None:
    with store.begin(1) as stage:
        os.mkdir(os.path.join(store.folder, "checkpoint-1"))  # also not of an empty folder
        path = stage.commit()
    assert os.path.basename(path) == "checkpoint-1-2"
    assert os.listdir(os.path.join(store.folder, "checkpoint-1")) == []


def test_a_file_is_on_disk_when_the_next_is_written_and_an_error_of_it_is_told_then(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    forced: list[str] = []
    real = os.fsync

    def fsync(handle: int) -> None:
        forced.append(os.path.basename(os.readlink(f"/proc/self/fd/{handle}")))
        if forced[-1] == "b.bin":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real(handle)

    with store.begin(1) as stage:
        monkeypatch.setattr(os, "fsync", fsync)
        stage.write_bytes("a.bin", b"a")
        assert (forced, list(stage.files)) == ([], [])
        stage.write_bytes("b.bin", b"b")
        assert (forced, list(stage.files)) == (["a.bin"], ["a.bin"])
        with pytest.raises(CheckpointError, match=r"b\.bin is in this checkpoint already"):
            stage.write_bytes("b.bin", b"c")
        with pytest.raises(CheckpointError, match=r"step 1 was not saved: .*Input/output error"):
            stage.commit()
    assert store.list() == []
    assert os.listdir(store.folder) == [".writer.lock"]
