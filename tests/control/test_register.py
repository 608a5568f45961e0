from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from forge.base.secrets import MASK
from forge.control.processes import identity
from forge.control.record import job_records, read_record
from forge.control.register import Registration, register, this_host

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def enter(**more: object) -> Registration:
    return register(
        config="pretrain/tiny", project="demo", overrides=["a=1", "hf_token=hunter2"], run_folder="out/run", **more
    )


def test_a_run_is_in_the_list_from_its_beginning_to_its_end() -> None:
    job = enter(console="out/run/log")
    own = identity(os.getpid())
    begun = read_record(job.id)
    assert begun is not None
    assert begun.id == job.id == "tiny-1"
    assert (begun.run, begun.console) == (os.path.abspath("out/run"), os.path.abspath("out/run/log"))
    assert (begun.host, begun.starter, begun.keeper, begun.process) == (this_host(), own, own, None)
    assert begun.user
    assert begun.overrides == ("a=1", f"hf_token={MASK}")
    job.begun(os.getpid())
    assert read_record(job.id).process == own
    job.ended(3)
    ended = read_record(job.id)
    assert (ended.code, ended.keeper) == (3, None)
    assert ended.ended >= ended.started


def test_who_lets_go_of_a_run_says_nothing_of_its_end() -> None:
    job = enter()
    job.let_go()
    assert (read_record(job.id).keeper, read_record(job.id).ended) == (None, "")
    job.keep()
    assert read_record(job.id).keeper == identity(os.getpid())


def test_a_run_that_cannot_be_registered_is_told_of_and_goes_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FORGE_DATA_HOME", str(tmp_path / "file" / "below"))
    (tmp_path / "file").write_text("")
    said: list[str] = []
    job = enter(warn=said.append)
    job.begun(os.getpid())
    job.ended(0)
    assert job.id == ""
    assert len(said) == 1
    assert said[0].startswith("this run is not in the list of jobs: cannot write")
    assert job_records() == []


def test_a_disk_that_is_full_is_told_of_at_every_change(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    job = enter()

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", full)
    job.begun(os.getpid())
    monkeypatch.undo()
    said = capsys.readouterr().err
    assert said.startswith("warning: the list of jobs does not show what becomes of tiny-1: cannot write ")
    assert said.endswith("No space left on device\n")
    assert len(said.splitlines()) == 1


def test_a_user_without_a_name_has_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> str:
        raise KeyError

    monkeypatch.setattr("getpass.getuser", nobody)
    assert read_record(enter().id).user == str(os.getuid())
