from __future__ import annotations

import importlib.util
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    import pytest
    from conftest import Run


def test_without_pygls_it_says_what_to_install(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "pygls" else real(name))
    done = run("lsp")
    assert done.code == 1
    assert done.errors == "error: the language server needs pygls, which is not installed\n  pip install 'forge[lsp]'\n"


def test_without_an_editor_it_says_who_starts_it(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", None)
    done = run("lsp")
    assert done.code == 2
    assert "speaks to an editor" in done.errors


def test_it_ends_with_its_input(project: Path, environment: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "forge", "lsp"],
        cwd=project,
        env=environment,
        input="",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
