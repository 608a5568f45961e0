from __future__ import annotations

import os
from typing import TYPE_CHECKING

from forge.base.origin import Origin, shown_path

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_an_origin_prints_as_file_and_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    file = str(tmp_path / "configs" / "a.yaml")
    assert str(Origin(file, 3, 5)) == "configs/a.yaml:3"
    assert str(Origin(file)) == "configs/a.yaml"


def test_an_origin_without_a_file_shows_what_the_user_typed() -> None:
    assert str(Origin("", layer="override", text="a.b=1")) == "override 'a.b=1'"
    assert str(Origin("", layer="computed")) == "computed"


def test_a_path_is_relative_only_when_it_lies_below(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    assert shown_path(here / "a") == "a"
    assert shown_path(tmp_path / "hereafter") == str(tmp_path / "hereafter")
    assert shown_path(tmp_path / "other") == str(tmp_path / "other")


def test_a_deleted_current_folder_is_no_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    os.rmdir(gone)
    assert shown_path("/x/a.yaml") == "/x/a.yaml"
