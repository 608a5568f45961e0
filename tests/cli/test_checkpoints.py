"""What is listed of the checkpoints in a folder."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from forge.base.errors import ToolError
from forge.cli.checkpoints import kept_checkpoint, listed_checkpoints

if TYPE_CHECKING:
    from pathlib import Path


def test_where_there_are_none_nobody_is_asked(tmp_path: Path) -> None:
    assert listed_checkpoints(str(tmp_path)) == []
    assert kept_checkpoint(str(tmp_path)) is None


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ('[{"path": "a", "newest": false}, {"path": "b", "newest": true}]', "b"),
        ('[{"path": "a", "newest": false}]', None),
    ],
)
def test_the_newest_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, kept: str | None) -> None:
    (tmp_path / "checkpoints").mkdir()
    done = subprocess.CompletedProcess([], 0, text, "")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)
    assert kept_checkpoint(str(tmp_path)) == kept


def test_what_cannot_be_listed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "checkpoints").mkdir()
    done = subprocess.CompletedProcess([], 1, "", "no right to read it")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)
    with pytest.raises(ToolError, match="cannot be listed: no right to read it"):
        listed_checkpoints(str(tmp_path))
