from __future__ import annotations

import os
from pathlib import Path

import pytest

from forge.base.errors import UsageError
from forge.compose.new_file import new_config_file
from forge.compose.project import Project, find_project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "home" / "configs" / "size").mkdir(parents=True)
    (tmp_path / "home" / "project.yaml").write_text("groups: [size]\n")
    (tmp_path / "home" / "configs" / "size" / "small.yaml").write_text("a: 1\n")
    return find_project(str(tmp_path / "home"))


@pytest.mark.parametrize("given", ["long", "long.yaml", "exp/a/long", "exp/llama3.2.yaml", "exp/a..b"])
def test_a_config_goes_into_the_projects_configs(project: Project, given: str) -> None:
    made = new_config_file(project, given)
    assert made.name == given.removesuffix(".yaml")
    assert made.file == os.path.join(project.folder, "configs", f"{made.name}.yaml")


@pytest.mark.parametrize(
    "given", ["", ".", "..", "../x", "a/../../x", "/etc/x", "~/x", "a//b", "a/", ".hidden", "a\nb", "a\0b", "a b", "-x"]
)
def test_no_name_leads_out_of_them(project: Project, given: str) -> None:
    with pytest.raises(UsageError, match="cannot be the name of a config"):
        new_config_file(project, given)


def test_no_link_leads_out_of_them(project: Project, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    configs = Path(project.config_folder)
    (configs / "linked").symlink_to(tmp_path / "elsewhere")
    (configs / "single.yaml").symlink_to(tmp_path / "elsewhere" / "x.yaml")
    for given in ("linked/x", "single"):
        with pytest.raises(UsageError, match="leads out of the project's configs"):
            new_config_file(project, given)
    (configs / "inner").symlink_to(configs / "size")
    assert new_config_file(project, "inner/x").name == "inner/x"


def test_a_folder_of_configs_that_is_a_link_itself_is_the_projects(project: Project, tmp_path: Path) -> None:
    os.rename(project.config_folder, tmp_path / "moved")
    os.symlink(tmp_path / "moved", project.config_folder)
    assert new_config_file(project, "long").name == "long"


def test_a_choice_of_a_group_is_no_config(project: Project) -> None:
    for given in ("size/large", "optimizer/mine"):
        with pytest.raises(UsageError, match="is a config group"):
            new_config_file(project, given)
        assert new_config_file(project, given, choices_too=True).name == given
