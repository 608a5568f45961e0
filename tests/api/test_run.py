from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from forge.api.run import PastRun
from forge.base.errors import FileError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from forge.api.project import ProjectHandle


def test_a_planned_run_says_where_it_writes_and_what_it_starts(project: ProjectHandle) -> None:
    planned = project.config("tiny").plan_run()
    assert planned.output == "output/demo/tiny"
    assert planned.folder.startswith(planned.output)
    assert planned.launch.command[-1] == planned.folder


def test_a_config_without_a_trainer_plans_no_run(project: ProjectHandle) -> None:
    with open(f"{project.folder}/configs/plain.yaml", "w") as file:
        file.write("a: 1\n")
    with pytest.raises(UsageError, match="plain describes no run"):
        project.config("plain").plan_run()


def test_of_two_runs_that_were_planned_in_the_same_second_one_gets_the_folder(
    project: ProjectHandle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = project.config("tiny", "~api_key", "trainer.key=x")
    first = config.plan_run()
    second = config.plan_run()._replace(folder=first.folder)
    first.prepare()
    with pytest.raises(FileError, match=r"another run has just begun in .*\n.*start this one again"):
        second.prepare()


def test_a_past_run_knows_its_config_and_what_has_changed_since(project: ProjectHandle, tmp_path: Path) -> None:
    config = project.config("tiny", "+trainer.output_dir=out").override("~api_key", "trainer.key=x")
    config.freeze(tmp_path / "run")
    past = PastRun(str(tmp_path / "run"))
    assert (past.config, past.overrides[0]) == ("tiny", "+trainer.output_dir=out")
    assert not past.diff(config)
    changed = past.diff(config.override("trainer.steps=7"))
    assert [one["path"] for one in changed.data()] == ["trainer.steps"]
    assert changed.overrides() == ["trainer.steps=100"]
