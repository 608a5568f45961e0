from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Run


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_a_shell_asks_forge_for_it(run: Run, shell: str) -> None:
    done = run("completion", shell)
    assert (done.code, done.errors) == (0, "")
    assert f" __complete {shell} " in done.out


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_shell_itself_reads_the_script_without_complaint(run: Run, tmp_path: Path, shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    path = tmp_path / "script"
    assert run("completion", shell, "-o", str(path)) == (0, "", "")
    done = subprocess.run([shell, "-n", str(path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "completion needs SHELL"),
        (["powershell"], "it is one of: bash, zsh, fish"),
        (["bahs"], "did you mean 'bash'?"),
        (["bash", "zsh"], "does not know what to do with 'zsh'"),
        (["bash", "--json"], "completion has no flag '--json'"),
    ],
)
def test_a_mistake_is_named(run: Run, words: list[str], message: str) -> None:
    done = run("completion", *words)
    assert (done.code, done.out) == (2, "")
    assert message in done.errors


def test_a_script_needs_no_project(run: Run, empty: Path, project: Path) -> None:
    (project / "project.yaml").write_text("nosuch: 1\n")
    assert run("completion", "bash", cwd=empty) == run("completion", "bash")
