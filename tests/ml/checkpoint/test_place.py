from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from forge.base.errors import UsageError
from forge.ml.checkpoint.place import is_checkpoint, store_of

if TYPE_CHECKING:
    from pathlib import Path


def test_checkpoints_are_found_from_every_folder_of_a_run(tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoints" / "checkpoint-3"
    run = tmp_path / "runs" / "now"
    checkpoint.mkdir(parents=True)
    run.mkdir(parents=True)
    for place in (tmp_path, tmp_path / "checkpoints", checkpoint, run):
        assert store_of(str(place)).folder == str(tmp_path / "checkpoints")
    assert is_checkpoint(str(checkpoint))
    assert not is_checkpoint(str(tmp_path))
    assert not is_checkpoint(os.path.join(tmp_path, "checkpoint-9"))


def test_where_there_are_none_it_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there are no checkpoints in"):
        store_of(str(tmp_path))
    with pytest.raises(UsageError, match="there is no folder"):
        store_of(str(tmp_path / "none"))
