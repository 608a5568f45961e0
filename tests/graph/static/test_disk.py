"""Modules found as files, with every look at the disk written down."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest

from forge.graph.static.disk import Compiled, Disk, Fact, Module, NotInstalled, fact_of

if TYPE_CHECKING:
    from pathlib import Path


def test_a_fact_tells_a_file_a_folder_and_nothing_apart(tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    file.write_text("abc")
    assert fact_of(str(file)) == Fact(str(file), file.stat().st_mtime_ns, 3)
    assert fact_of(str(tmp_path)).size < 0 > fact_of(str(tmp_path / "none")).size
    assert fact_of(str(tmp_path)) != fact_of(str(tmp_path / "none"))._replace(path=str(tmp_path))
    assert fact_of("a\x00b").size < 0


def test_a_folder_is_the_same_whatever_comes_and_goes_in_it(tmp_path: Path) -> None:
    before = fact_of(str(tmp_path))
    (tmp_path / "new").write_text("")
    assert fact_of(str(tmp_path)) == before


def test_modules_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "aviary").mkdir()
    (tmp_path / "aviary" / "__init__.py").write_text("")
    disk = Disk([str(tmp_path)])
    assert isinstance(disk.module("aviary"), Module)
    assert disk.module("aviary.none") is None
    assert disk.module("aviary.none.deeper") is None
    assert disk.module("sys") == Compiled("sys")
    assert disk.module("no_such_package_at_all.x") == NotInstalled("no_such_package_at_all.x")


def test_every_look_is_remembered_also_at_what_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "aviary.py").write_text("")
    disk = Disk([str(tmp_path)])
    disk.module("aviary")
    assert str(tmp_path / "aviary.py") in disk.touched
    assert str(tmp_path / "aviary") in disk.touched  # a package would win over the file
    elsewhere = [path for path in disk.touched if os.path.basename(path) == "aviary.py"]
    assert len(elsewhere) > 1  # every folder of the search path that could have had it


def test_an_editable_install_is_found_through_its_own_finder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.machinery import ModuleSpec

    (tmp_path / "aviary.py").write_text("def fly(): ...")

    class Finder:
        @staticmethod
        def find_spec(name: str, _path: object) -> ModuleSpec | None:
            return ModuleSpec(name, None, origin=str(tmp_path / "aviary.py")) if name == "aviary" else None

    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Finder])
    found = Disk().module("aviary")
    assert isinstance(found, Module)
    assert found.path == str(tmp_path / "aviary.py")


@pytest.mark.parametrize(
    ("text", "name", "exported"),
    [
        ("__all__ = ['a']", "a", True),
        ('__all__ = ("a",)', "a", True),
        ("__all__ = ['a']", "b", False),
        ("__all__ = ['a']\n__all__ += other", "b", True),
        ("b = 1", "b", True),
        ("_b = 1", "_b", False),
        ("__all__ = ['_b']", "_b", True),
    ],
)
def test_what_a_star_import_may_bring(text: str, name: str, exported: bool) -> None:  # noqa: FBT001 - an expected value
    assert Module("aviary", "/x/aviary.py", text.encode()).exports(name) is exported


def test_invalid_escapes_of_others_warn_nobody() -> None:
    assert Module("aviary", "/x/aviary.py", b"x = '\\d'").tree is not None


@pytest.mark.parametrize("data", [b"class (:", b"x = '\x00'", b"# coding: no-such\n", b"(" * 5000])
def test_a_file_that_does_not_parse_binds_nothing(data: bytes) -> None:
    assert Module("aviary", "/x/aviary.py", data).bindings is None


def test_the_modules_of_a_package_are_named(tmp_path: Path) -> None:
    for name in ("__init__.py", "nets.py", "data.cpython-311-x86_64-linux-gnu.so", "notes.txt", "_hidden.py"):
        (tmp_path / name).write_text("")
    (tmp_path / "deep").mkdir()
    (tmp_path / "__pycache__").mkdir()
    module = Module("aviary", str(tmp_path / "__init__.py"), b"")
    assert Disk().submodules(module) == ["_hidden", "data", "deep", "nets"]
