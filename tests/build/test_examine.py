from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from forge.base.trust import trust
from forge.build.examine import examine
from forge.compose.project import Project, find_project

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    for kind in ("CONFIG", "DATA", "CACHE"):
        monkeypatch.setenv(f"FORGE_{kind}_HOME", str(tmp_path / kind.lower()))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").mkdir()
    (tmp_path / "project.yaml").write_text("name: demo\n")
    return find_project(str(tmp_path))


def write(project: Project, text: str) -> None:
    with open(f"{project.config_folder}/top.yaml", "w") as file:
        file.write(text)


def test_mistakes_of_every_stage_are_found_at_once(project: Project) -> None:
    write(
        project,
        "defaults: [{size: smal}, _self_]\n"
        "args: {steps: {key: trainer.steps, type: int, min: 5}}\n"
        "trainer:\n"
        "  _target_: builtins.dict\n"
        "  model: ${modle}\n"
        "  timeout: {_target_: datetime.timedelta, dayz: 1}\n"
        "  shell: {_target_: os.system, command: ls}\n"
        "  steps: 1\n"
        "  open: ???\n",
    )
    found = [str(finding) for finding in examine(project, "top", ["trainer.nosuch=1"])]
    for mistake in ("size", "modle", "dayz", "os.system", "below 5", "???", "nosuch"):
        assert any(mistake in line for line in found), (mistake, found)
    placed = [line for line in found if line.startswith("configs/top.yaml:")]
    assert len(placed) >= 6


def test_a_file_that_does_not_parse_is_one_finding(project: Project) -> None:
    write(project, "a: [1\n")
    (finding,) = examine(project, "top")
    assert finding.severity == "error"
    assert str(finding).startswith("configs/top.yaml:")


def test_a_config_that_is_right_has_no_findings(project: Project) -> None:
    write(project, "trainer: {_target_: datetime.timedelta, days: 1}\n")
    assert examine(project, "top", imports=True) == []


def test_what_only_an_import_can_tell_is_found_on_request(project: Project) -> None:
    write(project, "trainer: {_target_: mine.thing}\n")
    source = f"{project.folder}/src/mine"
    os.makedirs(source)
    with open(f"{source}/__init__.py", "w") as file:
        file.write("thing = dict\nraise ValueError('not today')\n")
    project = find_project(project.folder)
    assert any("not trusted" in str(finding) for finding in examine(project, "top", imports=True))
    trust(f"{project.folder}/src")
    assert any("not today" in str(finding) for finding in examine(project, "top", imports=True))
