"""The library read by plain Hydra: what forge adds to the language is ordinary YAML, so that other tools still read it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from forge.base.places import library_configs

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture(scope="session")
def choose() -> Callable[..., Any]:
    """A function that composes one choice of one group, with overrides, into plain data."""

    def composed(group: str, choice: str, *overrides: str) -> Any:
        with initialize_config_dir(library_configs(), version_base=None):  # left at once: Hydra keeps it globally
            config = compose(None, [f"+{group}={choice}", *overrides])
        return OmegaConf.to_container(config, resolve=False)[group]

    return composed
