from __future__ import annotations

import errno
import hashlib
import os
import threading
from typing import TYPE_CHECKING

import pytest

from forge.base.errors import FileError
from forge.base.new_file import NewFile

if TYPE_CHECKING:
    from pathlib import Path


def test_a_new_file_knows_its_size_and_hash(tmp_path: Path) -> None:
    pieces = [b"", b"abc", bytearray(b"x" * 100), memoryview(os.urandom(20 << 20)), *[b"y"] * 3000]
    with NewFile(tmp_path / "a") as file:
        for piece in pieces:
            file.write(piece)
    content = b"".join(map(bytes, pieces))
    assert (tmp_path / "a").read_bytes() == content
    assert (file.size, file.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert [thread.name for thread in threading.enumerate() if thread.name == "forge-sha256"] == []


def test_a_new_file_takes_the_place_of_nothing_and_stays_only_when_it_is_whole(tmp_path: Path) -> None:
    (tmp_path / "old").write_text("old")
    with pytest.raises(FileError, match="File exists"):
        NewFile(tmp_path / "old")
    for size in (1, 20 << 20):
        with pytest.raises(KeyboardInterrupt), NewFile(tmp_path / "new") as file:
            interrupt_while_writing(file, size)
    assert os.listdir(tmp_path) == ["old"]
    assert (tmp_path / "old").read_text() == "old"
    assert [thread.name for thread in threading.enumerate() if thread.name == "forge-sha256"] == []


def interrupt_while_writing(file: NewFile, size: int) -> None:
    file.write(b"x" * size)
    raise KeyboardInterrupt


@pytest.mark.parametrize("call", ["writev", "fsync", "close"])
def test_a_new_file_that_cannot_be_written_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    file = NewFile(tmp_path / "new")
    file.write(b"x")
    real = getattr(os, call)

    def fail(handle: int, *rest: object) -> object:
        if call == "close":
            real(handle, *rest)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(FileError, match="Input/output error"):
        file.__exit__(None, None, None)
    monkeypatch.undo()
    assert os.listdir(tmp_path) == []


def test_a_write_that_takes_only_a_part_is_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writev = os.writev
    monkeypatch.setattr(os, "writev", lambda handle, pieces: writev(handle, [pieces[0][:3]]))
    with NewFile(tmp_path / "a") as file:
        file.write(b"12345678")
        file.write(b"9")
    assert (tmp_path / "a").read_bytes() == b"123456789"


def test_a_file_that_nobody_checks_is_not_hashed(tmp_path: Path) -> None:
    with NewFile(tmp_path / "a", hashed=False) as file:
        file.write(b"x" * (9 << 20))
        assert "forge-sha256" not in {thread.name for thread in threading.enumerate()}
    assert (tmp_path / "a").stat().st_size == file.size == 9 << 20
    with pytest.raises(ValueError, match="without a hash"):
        assert file.sha256


@pytest.mark.parametrize("hashed", [True, False])
def test_bytes_of_another_file_are_copied(tmp_path: Path, *, hashed: bool) -> None:
    content = os.urandom(9 << 20)
    (tmp_path / "old").write_bytes(content)
    handle = os.open(tmp_path / "old", os.O_RDONLY)
    try:
        with NewFile(tmp_path / "new", hashed=hashed) as file:
            file.write(b"head")
            file.copy(handle, 5, (9 << 20) - 5)
            file.write(b"tail")
        with pytest.raises(OSError, match="shorter"), NewFile(tmp_path / "short", hashed=hashed) as short:
            short.copy(handle, 0, 10 << 20)
    finally:
        os.close(handle)
    assert (tmp_path / "new").read_bytes() == b"head" + content[5:] + b"tail"
    assert file.size == (9 << 20) + 3
    assert not (tmp_path / "short").exists()


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="another system")
def test_the_disk_begins_with_large_files_while_they_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "posix_fadvise", lambda _, start, size, __: begun.append((start, size)))
    with NewFile(tmp_path / "small") as file:
        file.write(b"x" * 100)
    assert begun == []
    with NewFile(tmp_path / "large") as file:
        file.write(b"x" * 100)
        file.write(b"y" * (20 << 20))
        assert begun == [(0, 100 + (8 << 20)), (100 + (8 << 20), 8 << 20)]
    assert (tmp_path / "large").stat().st_size == 100 + (20 << 20)
