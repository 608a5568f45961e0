from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import pytest

from forge.base.errors import FileError
from forge.doctor import storage
from forge.doctor.storage import Filesystem, filesystem_of, leave_token, sees_token, storage_rows, take_token


class Space(NamedTuple):
    f_bavail: int
    f_frsize: int
    f_blocks: int
    f_favail: int
    f_files: int


MOUNTS = r"""21 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw
22 21 0:5 / /shared\040disk rw shared:2 - nfs4 nas:/vol rw
23 22 0:6 / /shared\040disk/scratch rw - fuse.juicefs j rw
24 21 0:7 / /scratch rw - tmpfs tmpfs rw
25 24 0:8 / /scratch rw - xfs /dev/sdb rw
"""


@pytest.mark.parametrize(
    ("folder", "kind", "shared"),
    [
        ("/home", "ext4", False),
        ("/shared disk/runs", "nfs4", True),
        ("/shared disk/scratch/x", "fuse.juicefs", True),
        ("/shared diskette", "ext4", False),
        ("/scratch/x", "xfs", False),
    ],
)
def test_the_filesystem_of_a_folder(tmp_path: Path, folder: str, kind: str, *, shared: bool) -> None:
    (tmp_path / "mounts").write_text(MOUNTS)
    found = filesystem_of(folder, str(tmp_path / "mounts"))
    assert found is not None
    assert (found.kind, found.shared) == (kind, shared)
    assert filesystem_of(folder, str(tmp_path / "nosuch")) is None


def rows(folder: Path) -> dict[str, storage.DoctorRow]:
    return {row.name: row for row in storage_rows(str(folder))}


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "_MOST", 2 << 20)


@pytest.mark.usefixtures("quick")
def test_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    found = rows(tmp_path / "out" / "runs")
    assert set(found) == {"run folder", "free space", "writing", "fsync"}
    assert found["writing"].found.endswith("/s to be sure of 2.1 MB") or "1.0 MB" in found["writing"].found
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("quick")
def test_disks_that_are_slow_full_or_passing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "_written", lambda *_: 0.5)
    found = rows(tmp_path)
    assert (found["writing"].verdict, found["fsync"].verdict) == ("warning", "warning")
    assert "save less often" in found["writing"].remedy
    monkeypatch.setattr(storage, "filesystem_of", lambda _: Filesystem("/", "overlay"))
    assert "is gone with its container" in rows(tmp_path)["run folder"].found
    for free, names, verdict in ((10**8, 10**6, "bad"), (10**9, 10**6, "warning"), (10**12, 10, "bad")):
        monkeypatch.setattr(os, "statvfs", lambda _, free=free, names=names: Space(free, 1, 10**12, names, 10**6))
        assert rows(tmp_path)["free space"].verdict == verdict


def test_a_folder_that_cannot_be_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert "cannot be written to" in rows(tmp_path)["writing"].found
    monkeypatch.undo()

    def refuse(*_: object) -> float:
        raise FileError("no space left on device")

    monkeypatch.setattr(storage, "_written", refuse)
    assert rows(tmp_path)["writing"].found == "no space left on device"


def test_a_token_is_seen_where_it_lies(tmp_path: Path) -> None:
    path = leave_token(str(tmp_path / "not yet"), "a" * 32)
    assert Path(path).parent == tmp_path
    assert sees_token(path, "a" * 32)
    assert not sees_token(path, "b" * 32, 0)
    take_token(path)
    assert not sees_token(path, "a" * 32, 0.2)
