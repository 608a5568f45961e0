from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from forge.base.errors import ConfigSyntaxError
from forge.base.places import user_settings
from forge.build.user_policy import policy_of
from forge.compose.project import find_project
from forge.shell.settings import Settings, shell_settings

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORGE_CONFIG_HOME", str(tmp_path / "config"))
    os.mkdir(tmp_path / "config")


def write(text: str) -> None:
    with open(user_settings(), "w") as file:
        file.write(text)


def test_without_settings_the_keys_are_those_of_emacs() -> None:
    assert shell_settings() == Settings("emacs")
    write("allow: [mine.**]\n")
    assert shell_settings() == Settings("emacs")


@pytest.mark.parametrize("keys", ["vi", "emacs"])
def test_the_keys_are_chosen_by_name(keys: str) -> None:
    write(f"allow: [mine.**]\nshell:\n  keys: {keys}\n")
    assert shell_settings().keys == keys
    assert any(rule.pattern == "mine.**" for rule in policy_of(find_project(None)).rules)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("shell: vi\n", "settings.yaml:1: 'shell' holds settings"),
        ("shell: {keys: vim}\n", "settings.yaml:1: 'keys' cannot be 'vim'"),
        ("shell:\n  kyes: vi\n", r"settings.yaml:2: the shell has no setting 'kyes'(?s:.*)did you mean 'keys'"),
    ],
)
def test_a_mistake_is_told_with_its_line(text: str, message: str) -> None:
    write(text)
    with pytest.raises(ConfigSyntaxError, match=message):
        shell_settings()
