from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from forge.base.errors import ConfigLimitError, FileError
from forge.base.files import (
    add_hard_link,
    add_line,
    force_to_disk,
    make_folder,
    make_new_folder,
    make_private_folder,
    map_new_file,
    move_folder,
    open_part,
    open_regular,
    open_second,
    read_bounded,
    remove_file,
    remove_tree,
    replace_symlink,
    write_atomic,
    write_temporary,
    write_through,
)


def test_a_written_file_holds_the_text_and_has_the_mode(tmp_path: Path) -> None:
    write_atomic(tmp_path / "a", "grüße")
    write_atomic(tmp_path / "b", b"\0\1", mode=0o600)
    assert (tmp_path / "a").read_text() == "grüße"
    assert (tmp_path / "b").read_bytes() == b"\0\1"
    assert (tmp_path / "b").stat().st_mode & 0o777 == 0o600
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]


def test_writing_replaces_the_file_and_not_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("old")
    with path.open() as reader:
        write_atomic(path, "new and longer", durable=False)
        assert reader.read() == "old"
    assert path.read_text() == "new and longer"


def test_a_link_is_followed_and_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to("real")
    write_atomic(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"


def test_a_name_of_the_greatest_length_can_be_written(tmp_path: Path) -> None:
    write_atomic(tmp_path / ("n" * 255), "x")
    assert os.listdir(tmp_path) == ["n" * 255]


@pytest.mark.parametrize("name", ["missing/folder/file", "nul\0byte", "x" * 300, "file/below"])
def test_what_cannot_be_written_is_a_short_error_without_debris(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("kept")
    with pytest.raises(FileError) as caught:
        write_atomic(tmp_path / name, "x")
    assert 1 <= len(str(caught.value).splitlines()) <= 3
    assert os.listdir(tmp_path) == ["file"]


def test_folders_pipes_and_devices_are_never_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", "/dev/null"):
        with pytest.raises(FileError):
            write_atomic(path, "x")
    assert Path("/dev/null").is_char_device()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux")
def test_a_write_that_stops_in_the_middle_leaves_the_old_file_and_says_what_to_do(tmp_path: Path) -> None:
    # As on a full disk, the real system call fails in the middle.
    path = tmp_path / "a"
    path.write_text("old")
    script = (
        "import resource, signal, sys\n"
        "from forge.base.files import write_atomic\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "write_atomic(sys.argv[1], b'x' * 100_000)\n"
    )
    process = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=False)
    assert process.returncode == 1
    assert os.strerror(errno.EFBIG) in process.stderr
    assert "raise ulimit -f" in process.stderr
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a"]


def test_an_interrupted_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomic(tmp_path / "a", "x")
    assert os.listdir(tmp_path) == []


def test_file_and_folder_are_forced_to_disk_around_the_rename(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(
        os, "fsync", lambda handle: (order.append(os.readlink(f"/proc/self/fd/{handle}")), fsync(handle))[1]
    )
    monkeypatch.setattr(os, "replace", lambda a, b: (order.append("rename"), replace(a, b))[1])
    write_atomic(tmp_path / "a", "x")
    assert len(order) == 3
    assert order[0].endswith(".tmp")
    assert order[1:] == ["rename", str(tmp_path)]


def test_reading_is_bounded(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    assert read_bounded(tmp_path / "a", 5) == b"12345"
    with pytest.raises(ConfigLimitError, match="larger than 4 bytes"):
        read_bounded(tmp_path / "a", 4)
    with pytest.raises(ConfigLimitError):  # it says that it has no bytes, and has them
        read_bounded("/proc/self/maps", 10)


def test_reading_a_pipe_a_folder_or_nothing_is_an_error_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, tmp_path / "none", "nul\0byte"):
        with pytest.raises(FileError):
            read_bounded(path, 10)


def test_a_private_folder_can_be_entered_by_its_user_only(tmp_path: Path) -> None:
    folder = tmp_path / "above" / "private"
    before = os.umask(0)
    try:
        make_private_folder(folder)
    finally:
        os.umask(before)
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o777)
    make_private_folder(folder)
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_private_folder_of_somebody_else_or_a_file_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(FileError, match=r"not a folder|Not a directory") as caught:
            make_private_folder(path)
        assert "FORGE_CACHE_HOME" in str(caught.value.hint)
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(FileError, match="another user"):
        make_private_folder(tmp_path / "folder")


def test_a_folder_is_made_with_those_above_it(tmp_path: Path) -> None:
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "b"):
        with pytest.raises(FileError, match=r"cannot write .*: Not a directory") as caught:
            make_folder(path)
        assert caught.value.hint == "a file is where a folder is needed: choose another place"


def test_a_pipe_is_written_through(tmp_path: Path) -> None:
    write_through("/dev/null", "text")
    with pytest.raises(FileError, match="cannot write"):
        write_through(tmp_path / "gone" / "pipe", "text")
    with pytest.raises(FileError, match="disk is full"):
        write_through("/dev/full", "text")


def test_a_temporary_file_keeps_its_name_in_a_private_folder() -> None:
    path = write_temporary("config.yaml", "a: 1\n")
    try:
        assert os.path.basename(path) == "config.yaml"
        assert Path(path).read_text() == "a: 1\n"
        assert os.stat(os.path.dirname(path)).st_mode & 0o777 == 0o700
    finally:
        shutil.rmtree(os.path.dirname(path))


def test_removing_what_is_gone_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    remove_file(tmp_path / "a")
    remove_file(tmp_path / "a")
    assert not (tmp_path / "a").exists()
    with pytest.raises(FileError, match="cannot remove"):
        remove_file(tmp_path)


def test_a_durable_folder_is_forced_to_disk_with_those_above_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda h: (synced.append(os.readlink(f"/proc/self/fd/{h}")), fsync(h))[1])
    make_folder(tmp_path / "a" / "b", durable=True)
    assert sorted(synced) == [str(tmp_path), str(tmp_path / "a")]
    synced.clear()
    make_folder(tmp_path / "a" / "b", durable=True)
    assert synced == []


def test_a_folder_is_moved_over_nothing(tmp_path: Path) -> None:
    make_new_folder(tmp_path / "a")
    with pytest.raises(FileError, match="File exists"):
        make_new_folder(tmp_path / "a")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileError, match="File exists"):
        move_folder(tmp_path / "a", tmp_path / "empty")
    move_folder(tmp_path / "a", tmp_path / "b")
    assert sorted(os.listdir(tmp_path)) == ["b", "empty"]


def test_a_tree_is_removed_and_not_what_its_links_lead_to(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").write_text("x")
    (tmp_path / "tree" / "deep").mkdir(parents=True)
    (tmp_path / "tree" / "link").symlink_to("../kept")
    remove_tree(tmp_path / "tree")
    remove_tree(tmp_path / "tree")
    assert (tmp_path / "kept" / "file").exists()
    assert not (tmp_path / "tree").exists()
    with pytest.raises(FileError, match="cannot remove"):
        remove_tree(tmp_path / "kept" / "file")


def test_a_folder_that_is_a_link_goes_and_what_it_leads_to_stays(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "link").symlink_to("kept")
    (tmp_path / "nowhere").symlink_to("gone")
    remove_tree(tmp_path / "link")
    remove_tree(tmp_path / "nowhere")
    assert os.listdir(tmp_path) == ["kept"]


def test_a_text_with_the_bytes_of_a_name_that_is_no_text_is_refused(tmp_path: Path) -> None:
    name = os.fsdecode(b"out-\xff")
    with pytest.raises(FileError, match=r"cannot write .*: it would hold .*, which is not UTF-8") as caught:
        write_atomic(tmp_path / "a", f"folder: {name}")
    assert "\\udcff" in str(caught.value)
    assert str(caught.value).isprintable()
    assert os.listdir(tmp_path) == []


def test_links_are_made_and_replaced_in_one_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_text("a")
    add_hard_link(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").samefile(tmp_path / "a")
    replace_symlink(tmp_path / "b", "elsewhere")
    replace_symlink(tmp_path / "b", "a")
    assert os.readlink(tmp_path / "b") == "a"
    add_hard_link(tmp_path / "b", tmp_path / "c")
    assert os.readlink(tmp_path / "c") == str(tmp_path / "a")
    with pytest.raises(FileError, match="File exists"):
        add_hard_link(tmp_path / "a", tmp_path / "c")

    def fail(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(FileError):
        replace_symlink(tmp_path / "b", "c")
    assert sorted(os.listdir(tmp_path)) == ["a", "b", "c"]
    assert os.readlink(tmp_path / "b") == "a"


def test_files_and_folders_are_forced_to_disk(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    force_to_disk(tmp_path / "a")
    force_to_disk(tmp_path)
    with pytest.raises(FileError, match="cannot write"):
        force_to_disk(tmp_path / "b")


def test_lines_are_added_whole_and_the_older_half_goes_when_there_are_too_many(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    for number in range(100):
        assert add_line(path, f"line {number:03}", most_bytes=200)
    lines = path.read_text().splitlines()
    assert lines == [f"line {number:03}" for number in range(100 - len(lines), 100)]
    assert 10 <= len(lines) <= 25
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_line_behind_a_torn_one_begins_on_its_own(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_bytes(b"one\ntor")
    assert add_line(path, "two", most_bytes=1000)
    assert path.read_bytes() == b"one\ntor\ntwo\n"


def test_a_file_that_stays_locked_is_given_up(tmp_path: Path) -> None:
    import fcntl

    path = tmp_path / "lines"
    path.touch()
    with path.open("a") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert not add_line(path, "two", most_bytes=1000, wait=0.02)
    assert add_line(path, "two", most_bytes=1000)
    with pytest.raises(FileError, match="cannot write"):
        add_line(tmp_path / "nosuch" / "lines", "x", most_bytes=1000)


def test_a_second_way_is_closed_and_the_stream_stays_open(tmp_path: Path) -> None:
    with (tmp_path / "x").open("w") as stream:
        with open_second(stream, "wb") as second:
            second.write(b"a")
        stream.write("b")
    with (tmp_path / "x").open() as stream, open_second(stream, "rb") as second:
        assert second.read() == b"ab"


def test_what_is_put_into_a_mapped_file_is_there_for_others_at_once(tmp_path: Path) -> None:
    path = tmp_path / "x"
    first = map_new_file(path, 8, b"head")
    first[6:8] = b"!?"
    assert path.read_bytes() == b"head\0\0!?"
    second = map_new_file(path, 2)
    first[0:4] = b"gone"  # whoever has the old one keeps it
    assert path.read_bytes() == second[:] == b"\0\0"
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileError, match="cannot write"):
        map_new_file(tmp_path / "nosuch" / "x", 8)


def test_only_a_regular_file_is_opened(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    with open_regular(tmp_path / "file") as file:
        assert file.read() == b"content"
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(OSError, match="not a regular file"):
            open_regular(path)


def test_a_part_of_a_file_is_added_to(tmp_path: Path) -> None:
    for piece in (b"one", b"two"):
        with open_part(tmp_path / "part") as part:
            assert part.tell() == os.path.getsize(tmp_path / "part")
            part.write(piece)
    assert (tmp_path / "part").read_bytes() == b"onetwo"
    with pytest.raises(FileError):
        open_part(tmp_path / "none" / "part")
    (tmp_path / "link").symlink_to("part")
    with pytest.raises(FileError, match=r"cannot write .*link"):
        open_part(tmp_path / "link")
