from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import forge
from forge.api.project import ConfigInfo, ProjectHandle, all_projects
from forge.base.errors import ConfigNotFoundError

if TYPE_CHECKING:
    from pathlib import Path


def test_a_project_is_opened_by_folder_name_or_place(
    project: ProjectHandle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert forge.open("demo").folder == project.folder
    assert forge.open("demo/configs/size").folder == project.folder
    monkeypatch.chdir(tmp_path / "demo" / "configs")
    assert forge.open().folder == project.folder
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigNotFoundError, match="did you mean 'demo'"):
        forge.open("dmeo")


def test_a_project_lists_its_configs_and_says_what_is_broken(project: ProjectHandle) -> None:
    bad, other, tiny = project.configs()
    assert tiny == ConfigInfo("tiny", "A tiny config.", default=True)
    assert other == ConfigInfo("other", "A tiny config.")
    assert bad.name == "bad"
    assert bad.problem.startswith("demo/configs/bad.yaml:1")
    assert project.groups()["size"] == ["large", "small"]
    assert project.readme == "What it is."


def test_all_projects_are_those_below_and_those_of_forge(project: ProjectHandle) -> None:
    found = {one.name for one in all_projects()}
    assert project.name in found
    assert "pydoc" in found


@pytest.mark.usefixtures("project")
def test_a_new_project_checks_clean_and_shows_its_graph() -> None:
    from forge.cli.scaffold import new_config, new_project

    made = forge.open(new_project("haiku"))
    new_config(made, "exp/longer")
    for name in ("train", "exp/longer"):
        assert made.config(name).check() == []
        assert any(target.main for target in made.config(name).targets())


@pytest.mark.torch
@pytest.mark.usefixtures("project")
def test_a_new_project_builds() -> None:
    from forge.cli.scaffold import new_config, new_project

    made = forge.open(new_project("haiku"))
    new_config(made, "exp/longer")
    assert type(made.config("exp/longer").build()).__name__ == "Trainer"
