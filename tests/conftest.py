"""No test reads or writes what belongs to the user who runs it."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _no_hydra_left_behind() -> Iterator[None]:
    """Hydra, which some tests ask for its own answer, keeps a global state that must not reach the next test."""
    yield
    hydra = sys.modules.get("hydra.core.global_hydra")
    if hydra is not None:
        hydra.GlobalHydra.instance().clear()


@pytest.fixture(scope="session", autouse=True)
def _own_places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Cache, data and settings of this test run, for forge itself and for every process the tests start."""
    names = ("FORGE_CACHE_HOME", "FORGE_DATA_HOME", "FORGE_CONFIG_HOME")
    before = {name: os.environ.get(name) for name in names}
    for name in names:
        os.environ[name] = str(tmp_path_factory.mktemp(name.lower()))
    yield
    for name, value in before.items():
        os.environ.pop(name)
        if value is not None:
            os.environ[name] = value
