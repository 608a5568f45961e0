from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from forge.base.errors import FileError
from forge.control.progress import RunProgress, progress_of, sign_of_life, write_progress

if TYPE_CHECKING:
    from pathlib import Path


def test_what_a_run_writes_is_what_is_read(tmp_path: Path) -> None:
    assert progress_of(str(tmp_path)) == RunProgress()
    assert progress_of(str(tmp_path)).steps == ""
    written = RunProgress(2, 300, 0.5, 9.0)
    write_progress(str(tmp_path), written)
    assert progress_of(str(tmp_path)) == written
    assert written.steps == "2/300"
    assert RunProgress(0, 300).steps == "0/300"


def test_what_it_last_said_is_a_sign_of_life(tmp_path: Path) -> None:
    assert sign_of_life(str(tmp_path)) is None
    write_progress(str(tmp_path), RunProgress(1, 2))
    os.utime(tmp_path / "progress.json", (5, 1000))
    assert sign_of_life(str(tmp_path)) == 1000


def test_a_loss_that_is_no_number_is_none_in_strict_json(tmp_path: Path) -> None:
    write_progress(str(tmp_path), RunProgress(3, 4, float("nan"), float("inf")))
    assert progress_of(str(tmp_path)) == RunProgress(3, 4)
    assert "NaN" not in (tmp_path / "progress.json").read_text()


def test_what_no_run_has_come_to_is_short_or_nothing(tmp_path: Path) -> None:
    for step, shown in ((10**200, "1e+200/5"), (123456789012345, "123456789012345/5"), (10**400, ""), ("1e308", "")):
        (tmp_path / "progress.json").write_text(f'{{"step": {step}, "total": 5}}')
        assert progress_of(str(tmp_path)).steps == shown


@pytest.mark.parametrize("text", ["", "[]", "{", '"x"', '{"step": 1, "nosuch": 2}', "\0"])
def test_a_file_that_is_no_progress_says_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "progress.json").write_text(text)
    assert progress_of(str(tmp_path)) == RunProgress()


def test_a_folder_that_is_gone_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="cannot write"):
        write_progress(str(tmp_path / "gone"), RunProgress())
    assert json.dumps(RunProgress()._asdict())
