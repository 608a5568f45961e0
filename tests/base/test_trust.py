from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from forge.base.errors import TrustError
from forge.base.trust import distrust, is_trusted, require_trust, trust

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def data_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "data"
    monkeypatch.setenv("FORGE_DATA_HOME", str(home))
    return home


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "project" / "src"
    (folder / "pkg").mkdir(parents=True)
    (folder / "pkg" / "__init__.py").write_text("A = 1\n")
    (folder / "pkg" / "data.txt").write_text("text")
    return folder


def test_code_is_not_trusted_until_the_user_says_so(source: Path) -> None:
    assert not is_trusted(source)
    with pytest.raises(TrustError, match=r"not trusted yet\n.*forge trust .*project$"):
        require_trust(source)
    with pytest.raises(TrustError, match=r"forge trust 'a b'$"):
        require_trust(source, project="a b")
    trust(source)
    assert is_trusted(source)
    require_trust(source)


def test_asking_does_not_write(source: Path, data_home: Path) -> None:
    is_trusted(source)
    assert not data_home.exists()


@pytest.mark.parametrize("change", ["edit", "add", "remove", "rename", "move bytes", "pyc"])
def test_any_change_asks_again(source: Path, change: str) -> None:
    trust(source)
    if change == "edit":
        (source / "pkg" / "__init__.py").write_text("A = 2\n")
    elif change == "add":
        (source / "pkg" / "new.py").write_text("")
    elif change == "remove":
        (source / "pkg" / "data.txt").unlink()
    elif change == "rename":
        (source / "pkg" / "data.txt").rename(source / "pkg" / "other.txt")
    elif change == "move bytes":  # from the end of a name to the beginning of the bytes behind it
        (source / "pkg" / "data.txt").unlink()
        (source / "pkg" / "data.tx").write_text("ttext")
    else:
        (source / "pkg.pyc").write_bytes(b"code")
    assert not is_trusted(source)
    with pytest.raises(TrustError, match="has changed"):
        require_trust(source)


def test_bytecode_folders_do_not_count(source: Path) -> None:
    trust(source)
    (source / "pkg" / "__pycache__").mkdir()
    (source / "pkg" / "__pycache__" / "x.pyc").write_bytes(b"code")
    assert is_trusted(source)


def test_trust_belongs_to_the_real_path(source: Path, tmp_path: Path) -> None:
    trust(source)
    (tmp_path / "link").symlink_to(source)
    assert is_trusted(tmp_path / "link")
    copy = tmp_path / "copy"
    copy.mkdir()
    assert not is_trusted(copy)


def test_trust_can_be_taken_back(source: Path) -> None:
    trust(source)
    assert distrust(source)
    assert not is_trusted(source)
    assert not distrust(source)


def test_a_link_inside_is_part_of_the_code_and_one_that_leaves_is_refused(source: Path, tmp_path: Path) -> None:
    (source / "inside.py").symlink_to("pkg/__init__.py")
    trust(source)
    (source / "inside.py").unlink()
    (source / "inside.py").symlink_to("pkg/data.txt")
    assert not is_trusted(source)
    (tmp_path / "secret").write_text("")
    for name, aim in (("file.py", tmp_path / "secret"), ("folder", tmp_path)):
        (source / name).symlink_to(aim)
        with pytest.raises(TrustError, match="leads out"):
            trust(source)
        (source / name).unlink()


def test_what_cannot_be_read_cannot_be_trusted(source: Path, tmp_path: Path) -> None:
    os.mkfifo(source / "pipe")
    with pytest.raises(TrustError, match="cannot be checked"):
        trust(source)
    with pytest.raises(TrustError, match="not a folder"):
        trust(tmp_path / "none")


def test_shipped_projects_are_part_of_forge_and_their_neighbours_are_not(tmp_path: Path) -> None:
    shipped = tmp_path / "projects"
    for name in ("projects/pydoc/src", "projects-evil/src"):
        (tmp_path / name).mkdir(parents=True)
    assert is_trusted(shipped / "pydoc" / "src", shipped=str(shipped))
    assert not is_trusted(tmp_path / "projects-evil" / "src", shipped=str(shipped))
    (shipped / "out").symlink_to(tmp_path / "projects-evil")
    assert not is_trusted(shipped / "out" / "src", shipped=str(shipped))


def test_the_store_is_private_and_readable(source: Path, data_home: Path) -> None:
    trust(source)
    assert data_home.stat().st_mode & 0o777 == 0o700
    assert (data_home / "trust.json").stat().st_mode & 0o777 == 0o600
    assert list(json.loads((data_home / "trust.json").read_text())["folders"]) == [str(source)]


def test_a_store_that_others_can_write_is_not_believed(source: Path, data_home: Path) -> None:
    trust(source)
    (data_home / "trust.json").chmod(0o666)
    with pytest.raises(TrustError, match="other users"):
        is_trusted(source)


@pytest.mark.parametrize("content", ["", "[]", '{"folders": 3}', '{"folders": {"a": 1}}', "\xff", "[" * 100_000])
def test_a_damaged_store_is_an_error_and_not_an_empty_one(source: Path, data_home: Path, content: str) -> None:
    trust(source)
    (data_home / "trust.json").write_text(content, encoding="latin-1")
    with pytest.raises(TrustError, match="damaged"):
        is_trusted(source)
