"""A small project on disk, and forge as its user starts it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[2]
FILES = {
    "project.yaml": """\
name: demo
description: A small project.
default_config: tiny
groups: [size]
""",
    "README.md": "# demo\n\nWhat the demo is about.\n\n## More\n\nDetails.\n",
    "configs/tiny.yaml": """\
defaults:
  - size: small
  - _self_
meta: {name: Tiny, description: A tiny config.}
args:
  max_steps: {key: trainer.max_steps, aliases: [-M], type: int, min: 1, help: Stop after this many steps.}
  mode: {key: mode, choices: [fast, slow], help: How to run.}
  quiet: {key: quiet, type: bool, help: Say less.}
mode: fast
quiet: false
api_key: hunter2
trainer:
  _target_: builtins.dict
  size: ${size}
  max_steps: 100
  title: run-${mode}
""",
    "configs/other.yaml": """\
defaults: [tiny, {override size: large}, _self_]
meta: {description: Another config.}
trainer: {max_steps: 200}
""",
    "configs/size/small.yaml": "# Two layers.\n_target_: builtins.dict\ndim: 8\nlayers: 2\n",
    "configs/size/large.yaml": "# Twenty layers.\n_target_: builtins.dict\ndim: 800\nlayers: 20\n",
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with two configs and one group."""
    folder = tmp_path / "demo"
    for name, text in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A user with empty folders, no editor and no colours."""
    for name in ("VISUAL", "EDITOR", "VSCODE_IPC_HOOK_CLI", "TERM_PROGRAM", "VIM_SERVERNAME", "FORGE_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    for kind in ("CONFIG", "DATA", "CACHE"):
        monkeypatch.setenv(f"FORGE_{kind}_HOME", str(tmp_path / kind.lower()))
    return dict(os.environ)


@pytest.fixture
def forge(project: Path, environment: dict[str, str]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """``forge("show", "a=1")`` runs the command in the project and returns the finished process."""

    def run(*words: str, cwd: Path | None = None, **changes: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "forge", *words],
            cwd=cwd or project,
            env={**environment, **changes},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run
