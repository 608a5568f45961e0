from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from forge.base import places

USER = (
    "FORGE_CONFIG_HOME",
    "FORGE_DATA_HOME",
    "FORGE_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "XDG_CACHE_HOME",
)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in USER:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/ada")


def test_a_checkout_has_the_library_beside_the_package() -> None:
    checkout = Path(__file__).parents[2]
    assert places.library_configs() == str(checkout / "configs")
    assert places.shipped_projects() == str(checkout / "projects")
    assert places.chat_templates() == str(checkout / "chat_templates")


def test_an_installed_package_has_the_library_inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "forge" / "library").mkdir(parents=True)
    monkeypatch.setattr(places, "__file__", str(tmp_path / "forge" / "base" / "places.py"))
    assert places.shipped_projects() == str(tmp_path / "forge" / "library" / "projects")


def test_the_users_folders_follow_the_xdg_convention(monkeypatch: pytest.MonkeyPatch) -> None:
    assert places.user_configs() == "/home/ada/.config/forge/configs"
    assert places.user_settings() == "/home/ada/.config/forge/settings.yaml"
    assert places.user_data() == "/home/ada/.local/share/forge"
    assert places.user_cache() == "/home/ada/.cache/forge"
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert places.user_data() == "/data/forge"
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    assert places.user_data() == "/home/ada/.local/share/forge"


def test_forges_own_variables_win_and_become_absolute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/other")
    monkeypatch.setenv("FORGE_CACHE_HOME", "~/cache")
    monkeypatch.setenv("FORGE_CONFIG_HOME", "here")
    assert places.user_cache() == "/home/ada/cache"
    assert places.user_settings() == os.path.abspath("here/settings.yaml")


def test_asking_for_places_reads_and_makes_nothing(tmp_path: Path) -> None:
    script = "from forge.base import places\nfor name in places.__all__: getattr(places, name)()"
    subprocess.run([sys.executable, "-c", script], check=True, env={**os.environ, "HOME": str(tmp_path)})
    assert os.listdir(tmp_path) == []
