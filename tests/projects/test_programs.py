"""The program of every shipped config, and of every choice of the library, runs and builds the config's own graph."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from forge.api.project import all_projects, open_project
from forge.base.errors import MissingValueError
from forge.base.places import shipped_projects
from forge.graph.equal import equal
from forge.graph.node import Missing
from forge.graph.walk import walk

_SPEC = importlib.util.spec_from_file_location("rebuild", Path(__file__).parents[1] / "render" / "rebuild.py")
assert _SPEC is not None
assert _SPEC.loader is not None
rebuilding = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(rebuilding)

PYDOC = open_project(str(Path(shipped_projects()) / "pydoc"))
CONFIGS = [
    (project, config.name) for project in all_projects(shipped_projects()) for config in project.configs(examine=False)
]
OWN_PACKAGE = ("args", "adapter")  # groups that are used under a key of somebody else
PARTS = ("attention", "feedforward", "layer", "norm", "position")  # of an assembled decoder
CHOICES = [
    f"{group}={choice}" for group, choices in PYDOC.groups().items() if group not in OWN_PACKAGE for choice in choices
]


@pytest.mark.parametrize(("project", "config"), CONFIGS, ids=[config for _, config in CONFIGS])
def test_the_program_of_a_shipped_config_builds_its_graph(project: object, config: str) -> None:
    handle = project.config(config)  # type: ignore[attr-defined]
    assert equal(handle.graph.root, rebuilding.rebuild(handle.draw("python")))
    assert equal(handle.graph_of(handle.main).root, rebuilding.rebuild(handle.code(origins=True), handle.main))


@pytest.mark.parametrize("choice", CHOICES)
def test_the_program_of_a_choice_builds_its_graph(choice: str) -> None:
    assembled = ["model=assembled"] if choice.partition("=")[0] in PARTS else []
    handle = PYDOC.config("pretrain/tiny", *assembled, choice)
    if any(isinstance(node, Missing) for node in walk(handle.graph.root)):
        with pytest.raises(MissingValueError):  # what only its user can know: a host, an image, a file of data
            handle.draw("python")
        return
    assert equal(handle.graph.root, rebuilding.rebuild(handle.draw("python")))


@pytest.mark.torch
def test_the_program_of_the_tiny_model_really_runs(tmp_path: Path) -> None:
    program = tmp_path / "graph.py"
    program.write_text(PYDOC.config("pretrain/tiny").code())
    done = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Trainer(" in done.stdout
