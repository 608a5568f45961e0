from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from forge.base.errors import ConfigLimitError, FileError
from forge.compose.document import MAX_BYTES
from forge.compose.lookups import Lookups, content_digest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def looked(tmp_path: Path) -> Lookups:
    """One look of each kind."""
    (tmp_path / "read").write_text("one")
    (tmp_path / "seen").write_text("one")
    (tmp_path / "folder").mkdir()
    lookups = Lookups()
    assert lookups.read(str(tmp_path / "read")) == b"one"
    assert lookups.is_file(str(tmp_path / "seen"))
    assert not lookups.is_file(str(tmp_path / "gone"))
    assert not lookups.is_file(str(tmp_path / "folder"))
    assert lookups.is_folder(str(tmp_path / "folder"))
    assert not lookups.is_folder(str(tmp_path / "no_folder"))
    assert not lookups.is_folder(str(tmp_path / "read"))
    lookups.add_files([str(tmp_path / "seen"), str(tmp_path / "never")])
    lookups.variables["FORGE_LOOKED"] = None
    return lookups


def test_answers_hold_as_long_as_nothing_changes(tmp_path: Path) -> None:
    record = looked(tmp_path).record()
    assert Lookups.still_hold(record)
    os.utime(tmp_path / "read")
    (tmp_path / "unrelated").write_text("x")
    assert Lookups.still_hold(record)


CHANGES: dict[str, Callable[[Path], Any]] = {
    "another content": lambda folder: (folder / "read").write_text("two"),
    "the file that was read is gone": lambda folder: (folder / "read").unlink(),
    "the file that was added is another": lambda folder: (folder / "seen").write_text("two"),
    "a file appears": lambda folder: (folder / "gone").write_text(""),
    "a file appears that was added": lambda folder: (folder / "never").write_text(""),
    "a folder becomes a file": lambda folder: ((folder / "folder").rmdir(), (folder / "folder").write_text("")),
    "a folder goes": lambda folder: (folder / "folder").rmdir(),
    "a folder appears": lambda folder: (folder / "no_folder").mkdir(),
    "a file becomes a folder": lambda folder: ((folder / "read").unlink(), (folder / "read").mkdir()),
    "a file becomes too large": lambda folder: os.truncate(folder / "read", MAX_BYTES + 1),
}


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_is_noticed(tmp_path: Path, change: str) -> None:
    record = looked(tmp_path).record()
    CHANGES[change](tmp_path)
    assert not Lookups.still_hold(record)


def test_a_variable_that_is_set_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FORGE_LOOKED", raising=False)
    record = looked(tmp_path).record()
    monkeypatch.setenv("FORGE_LOOKED", "")
    assert not Lookups.still_hold(record)


def test_a_file_that_was_seen_and_never_read_must_stay_a_file(tmp_path: Path) -> None:
    path = tmp_path / "seen"
    path.write_text("one")
    lookups = Lookups()
    assert lookups.is_file(str(path))
    record = lookups.record()
    path.write_text("two")
    assert Lookups.still_hold(record)
    path.unlink()
    assert not Lookups.still_hold(record)


def test_the_current_folder_matters_only_when_it_was_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    careless, careful = Lookups(), Lookups()
    assert careful.current_folder() == str(tmp_path)
    monkeypatch.chdir("/")
    assert Lookups.still_hold(careless.record())
    assert not Lookups.still_hold(careful.record())


def test_within_one_composition_the_first_answer_stays(tmp_path: Path) -> None:
    lookups = Lookups()
    assert not lookups.is_file(str(tmp_path / "x"))
    (tmp_path / "x").write_text("")
    assert not lookups.is_file(str(tmp_path / "x"))
    assert not Lookups.still_hold(lookups.record())


def test_what_cannot_be_read_is_a_typed_error(tmp_path: Path) -> None:
    with pytest.raises(FileError):
        Lookups().read(str(tmp_path / "gone"))
    (tmp_path / "large").write_bytes(b"")
    os.truncate(tmp_path / "large", MAX_BYTES + 1)
    with pytest.raises(ConfigLimitError):
        Lookups().read(str(tmp_path / "large"))


def test_contents_are_told_apart() -> None:
    assert content_digest(b"a") == content_digest(b"a")
    assert len({content_digest(data) for data in (b"", b"a", b"b", b"a\n", b"\0")}) == 5


def test_a_file_that_is_not_written_yet_counts_as_if_it_were(tmp_path: Path) -> None:
    (tmp_path / "old").write_text("one")
    new, old = str(tmp_path / "new"), str(tmp_path / "old")
    lookups = Lookups({new: b"two", old: b"three"})
    assert lookups.is_file(new)
    assert (lookups.read(new), lookups.read(old)) == (b"two", b"three")
    assert lookups.record()["files"] == {new: content_digest(b"two"), old: content_digest(b"three")}
    assert not os.path.exists(new)
