from __future__ import annotations

import math
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, event, example, given, settings
from hypothesis import strategies as st

from forge.base.errors import ForgeError
from forge.compose.composer import compose_fresh
from forge.compose.project import Project, Root

sys.path.insert(0, os.path.dirname(__file__))
from hydra_oracle import HydraRefusesError, hydras_answer, override_texts, trees, write_tree

EXAMPLES = 4000 if os.environ.get("FORGE_FULL") else 60


def project_of(folder: Path) -> Project:
    return Project("generated", "", str(folder), None, (Root(str(folder), "project"),), ())


def same(one: Any, two: Any) -> bool:
    if type(one) is not type(two) and not (isinstance(one, (dict, list)) and isinstance(two, (dict, list))):
        return False
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(same(one[key], two[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(two) and all(map(same, one, two))
    return one == two or (isinstance(one, float) and math.isnan(one) and math.isnan(two))


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(files=trees(), overrides=st.lists(override_texts(), max_size=3))
@example(files={"config.yaml": "", "db/a.yaml": ""}, overrides=["+db=[{x:1}]"])
@example(files={"config.yaml": "", "db/a.yaml": ""}, overrides=["~db=3"])
def test_composes_what_hydra_composes_and_refuses_what_it_refuses(files: dict[str, str], overrides: list[str]) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_tree(folder, files)
        try:
            wanted = hydras_answer(folder, "config", overrides)
        except HydraRefusesError:
            event("refused by Hydra")
            with pytest.raises(ForgeError):
                compose_fresh(project_of(folder), "config", overrides)
            return
        event("composed")
        composed = compose_fresh(project_of(folder), "config", overrides)
        assert same(composed.tree, wanted), (composed.tree, wanted)
