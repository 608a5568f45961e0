from __future__ import annotations

import os
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from forge.base.errors import FileError, ModelError
from forge.ml.convert.new_model import NewModelFolder, refuse_present

if TYPE_CHECKING:
    from pathlib import Path


def test_it_is_there_when_it_is_committed_and_not_before(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "model"
    with NewModelFolder(str(target)) as new:
        new.write("config.json", b"{}")
        new.write("sub/file", b"1")
        assert not target.exists()
        assert new.commit() == str(target)
    assert sorted(os.listdir(target)) == ["config.json", "sub"]
    assert os.listdir(target.parent) == ["model"]


def test_a_checkpoint_gets_no_folder(tmp_path: Path) -> None:
    (tmp_path / "checkpoint-1").mkdir()
    (tmp_path / "checkpoint-1" / "manifest.json").write_text("{}")
    for target in ("checkpoint-1/model", "checkpoint-1/deep/model"):
        with pytest.raises(ModelError, match=r"(?s)inside of the checkpoint .*checkpoint-1.*another place"):
            refuse_present(str(tmp_path / target))
    refuse_present(str(tmp_path / "model"))


def test_without_a_commit_nothing_stays(tmp_path: Path) -> None:
    with NewModelFolder(str(tmp_path / "model")) as new:
        new.write("config.json", b"{}")
    assert os.listdir(tmp_path) == []


def test_what_a_dead_writer_left_goes_and_what_a_living_one_writes_stays(tmp_path: Path) -> None:
    with NewModelFolder(str(tmp_path / "model")) as dead:
        dead.write("a", b"1")
        left = tmp_path / os.path.basename(dead.staged)
        (tmp_path / "kept").mkdir()
        os.rename(left, tmp_path / "kept" / "x")
    os.rename(tmp_path / "kept" / "x", left)
    with NewModelFolder(str(tmp_path / "model")) as one:
        assert not left.exists()
        with NewModelFolder(str(tmp_path / "model")):
            assert os.path.isdir(one.staged)
        one.write("a", b"2")
        one.commit()
    assert sorted(os.listdir(tmp_path)) == ["kept", "model"]


def test_a_name_that_is_taken_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model").symlink_to("nowhere")
    with pytest.raises(ModelError, match="is there already"):
        refuse_present(str(tmp_path / "model"))


@pytest.mark.parametrize("name", ["x" * 256, "a\0b"])
def test_a_name_that_nothing_can_have_is_refused_before_anything_is_written(tmp_path: Path, name: str) -> None:
    with pytest.raises(FileError, match="cannot write"):
        NewModelFolder(str(tmp_path / name))
    with pytest.raises(FileError, match="cannot write"):
        refuse_present(str(tmp_path / name))
    assert os.listdir(tmp_path) == []
    with pytest.raises(FileError, match="cannot write"):
        NewModelFolder(str(tmp_path / "deep" / name))


def test_a_disk_without_room_is_said_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "statvfs", lambda _path: SimpleNamespace(f_blocks=9000, f_bavail=5000, f_frsize=1000))
    with pytest.raises(ModelError, match=r"has 5\.0 MB of free space, and the new model needs 9\.0 MB"):
        NewModelFolder(str(tmp_path / "model"), 9_000_000)
    assert os.listdir(tmp_path) == []
