from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest

from forge.base.errors import UsageError
from forge.report.folders import is_run, named_run, output_of, runs_below

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Past


def test_runs_are_found_below_folders_the_oldest_first(past: Past, tmp_path: Path) -> None:
    first, second = past(), past(output="out/sweeps/a/000")
    (tmp_path / "out" / "checkpoints" / "runs").mkdir(parents=True)
    shutil.copytree(first.record.run, tmp_path / "out" / "checkpoints" / "runs" / "x")
    (tmp_path / "out" / "runs" / "empty").mkdir()
    found = runs_below([str(tmp_path / "out"), str(tmp_path / "out" / "runs"), str(tmp_path / "nowhere")])
    assert [job.record.run for job in found] == [first.record.run, second.record.run]
    assert runs_below([first.record.run]) == [first]
    assert output_of(first.record.run) == str(tmp_path / "out")
    assert is_run(first.record.run)
    assert not is_run(str(tmp_path))


def test_a_run_has_several_names(past: Past, tmp_path: Path) -> None:
    job, places = past(), [str(tmp_path)]
    for name in (job.record.run, job.id, os.path.basename(job.record.run), str(tmp_path / "out")):
        assert named_run(name, places).record.run == job.record.run
    newer = past()
    assert named_run(str(tmp_path / "out"), places).record.run == newer.record.run


def test_what_is_no_run_is_told(past: Past, tmp_path: Path) -> None:
    job, places = past(name="20260101-000000-tiny"), [str(tmp_path)]
    with pytest.raises(UsageError, match=r"there is no run '20260101-00000-tiny'\n.*20260101-000000-tiny"):
        named_run("20260101-00000-tiny", places)
    (tmp_path / "empty folder").mkdir()
    with pytest.raises(UsageError, match="there is no run in"):
        named_run(str(tmp_path / "empty folder"), places)
    past(name="20260101-000000-tiny", output="other")
    with pytest.raises(UsageError, match="2 runs are called 20260101-000000-tiny"):
        named_run("20260101-000000-tiny", places)
    shutil.rmtree(job.record.run)
    with pytest.raises(UsageError, match=f"the run folder of {job.id} is gone"):
        named_run(job.id, places)
