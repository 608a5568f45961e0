from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from forge.base.errors import ConfigSyntaxError, PolicyError
from forge.base.places import user_settings
from forge.build.user_policy import policy_of
from forge.compose.project import Project, find_project

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    (tmp_path / "project.yaml").write_text("name: demo\n")
    monkeypatch.setenv("FORGE_CONFIG_HOME", str(tmp_path / "user"))
    (tmp_path / "user").mkdir()
    return find_project(str(tmp_path))


def allow(text: str) -> None:
    with open(user_settings(), "w") as file:
        file.write(text)


def test_without_settings_the_policy_is_forges_own(project: Project) -> None:
    policy_of(project).check_name("torch.optim.AdamW")
    with pytest.raises(PolicyError):
        policy_of(project).check_name("einops.layers.torch.Rearrange")


def test_the_users_settings_open_it(project: Project) -> None:
    allow("allow: [einops.layers.torch.<Class>]\n")
    policy_of(project).check_name("einops.layers.torch.Rearrange")


def test_a_project_cannot_open_it(project: Project, tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text("allow: [einops.layers.torch.<Class>]\n")
    with pytest.raises(PolicyError):
        policy_of(project).check_name("einops.layers.torch.Rearrange")


@pytest.mark.parametrize("text", ["allow: einops\n", "allow: [1]\n", "allow: {a: b}\n"])
def test_settings_that_make_no_sense_are_an_error(project: Project, text: str) -> None:
    allow(text)
    with pytest.raises(ConfigSyntaxError, match="'allow' is a list of names"):
        policy_of(project)
