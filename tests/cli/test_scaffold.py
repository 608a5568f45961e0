from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from forge.api.project import ProjectHandle, open_project
from forge.base.errors import ConfigNotFoundError, FileError, UsageError
from forge.base.trust import is_trusted
from forge.cli.scaffold import new_config, new_project

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def demo(project: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> ProjectHandle:
    """The demo project, opened."""
    assert environment
    monkeypatch.chdir(project)
    return open_project(project)


@pytest.mark.parametrize("name", ["haiku", "My-Texts", "a", "with_under-score9", "torch", "json"])
def test_a_new_project_composes_checks_clean_and_is_trusted(
    name: str, tmp_path: Path, environment: dict[str, str]
) -> None:
    assert environment
    folder = new_project(str(tmp_path / "made" / name))
    made = open_project(folder)
    assert made.name == name
    assert made.config().check() == []
    assert all(is_trusted(source) for source in made.source_folders)
    assert made.config().build("dataset.train")
    assert made.config().build("dataset.held_out") == []


def test_an_empty_folder_may_become_a_project(empty: Path, environment: dict[str, str]) -> None:
    assert environment
    assert new_project(f"{empty}/") == f"{empty}/"
    assert (empty / "project.yaml").is_file()


@pytest.mark.parametrize("name", ["1x", "x y", "é", ".", "..", "-x", "x.y", "x\n", "", "a" * 300 + "!"])
def test_a_name_that_is_none_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be the name of a project"):
        new_project(f"{tmp_path}/new/{name}" if name not in {"", ".", ".."} else name)
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_never_overwritten(project: Path) -> None:
    before = (project / "project.yaml").read_text()
    with pytest.raises(FileError, match="is there already"):
        new_project(str(project))
    with pytest.raises(FileError, match="is there already"):
        new_project(str(project / "configs"))
    assert (project / "project.yaml").read_text() == before
    (project / "file").write_text("")
    with pytest.raises(FileError, match="is there already"):
        new_project(str(project / "file"))


@pytest.mark.parametrize("name", ["x" * 300, "nosuch"])
def test_a_folder_that_cannot_be_made_is_an_error(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError):
        new_project(str(tmp_path / "file" / name))


def test_a_new_config_is_its_parent_until_it_is_changed(demo: ProjectHandle) -> None:
    path = new_config(demo, "deep/er/mine", "other")
    assert path == os.path.join(demo.folder, "configs", "deep", "er", "mine.yaml")
    child, parent = demo.config("deep/er/mine"), demo.config("other")
    assert not parent.diff(child)
    assert child.composed.meta["name"] == "Mine"


def test_without_a_parent_it_stands_on_the_default_config(demo: ProjectHandle) -> None:
    new_config(demo, "mine.yaml")
    assert not demo.config("tiny").diff(demo.config("mine"))


@pytest.mark.parametrize("name", ["", "/x", "x/", "../x", "x//y", ".x", "_x", "x y", "x/../y", "a\nb", "~x", "a=b"])
def test_a_name_that_is_no_config_is_refused(demo: ProjectHandle, name: str) -> None:
    with pytest.raises(UsageError, match="cannot be the name of a config"):
        new_config(demo, name)


def test_a_choice_of_a_group_is_no_config(demo: ProjectHandle) -> None:
    with pytest.raises(UsageError, match="'size' is a config group"):
        new_config(demo, "size/huge")
    assert new_config(demo, "sizes/huge")


def test_a_config_is_never_overwritten(demo: ProjectHandle) -> None:
    with pytest.raises(FileError, match="is there already"):
        new_config(demo, "tiny.yaml")


@pytest.mark.parametrize("parent", ["nosuch", "size/nosuch"])
def test_a_parent_that_is_not_there_is_refused(demo: ProjectHandle, parent: str) -> None:
    with pytest.raises(ConfigNotFoundError):
        new_config(demo, "mine", parent)
    assert not os.path.exists(os.path.join(demo.folder, "configs", "mine.yaml"))
