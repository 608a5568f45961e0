"""The wheel, installed into an empty environment outside the checkout, works from any folder."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

import forge

CHECKOUT = Path(forge.__file__).parents[1]

pytestmark = pytest.mark.wheel


def run(*command: str | Path, cwd: Path) -> str:
    clean = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "FORGE_", "VIRTUAL_ENV"))
    }
    clean["HOME"] = str(cwd)
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, cwd=cwd, env=clean, check=False
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, CHECKOUT, cwd=out)
    return next(out.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("empty") / "venv"
    venv.create(folder, with_pip=True)
    pins = [line for line in (CHECKOUT / "constraints.txt").read_text().splitlines() if not line.startswith("torch")]
    constraints = folder / "constraints.txt"
    constraints.write_text("\n".join(pins))
    run(
        folder / "bin" / "python",
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-compile",
        "--disable-pip-version-check",
        "-c",
        constraints,
        wheel,
        cwd=folder,
    )
    return folder / "bin"


def test_the_wheel_carries_the_library_the_templates_and_the_projects(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for source, target in (("configs", "configs"), ("chat_templates", "chat_templates"), ("projects", "projects")):
        files = [file for file in (CHECKOUT / source).rglob("*") if file.is_file() and "__pycache__" not in file.parts]
        assert files
        for file in files:
            assert f"forge/library/{target}/{file.relative_to(CHECKOUT / source)}" in names
    assert not [name for name in names if name.endswith(".pyc") or name.startswith("tests/")]


def test_the_core_install_is_lean(installed: Path, tmp_path: Path) -> None:
    listed = run(installed / "python", "-m", "pip", "list", "--format=freeze", cwd=tmp_path).lower()
    for heavy in ("torch", "transformers", "datasets", "numpy"):
        assert f"\n{heavy}==" not in listed


def test_every_verb_that_looks_works_in_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    forge_program = installed / "forge"
    assert "pretrain/tiny" in run(forge_program, "ls", cwd=tmp_path)
    assert "LlamaConfig" in run(forge_program, "graph", cwd=tmp_path)
    assert "lr:" in run(forge_program, "show", "optimizer=adafactor", cwd=tmp_path)
    assert run(forge_program, "graph", "--format", "svg", cwd=tmp_path).lstrip().startswith("<svg")
    assert "optimizer/adamw.yaml" in run(forge_program, "why", "optimizer.lr", cwd=tmp_path)
    run(forge_program, "graph", "--format", "html", "-o", "page.html", cwd=tmp_path)
    script = (CHECKOUT / "forge" / "render" / "page.js").read_text(encoding="utf-8")
    assert script.strip() in (tmp_path / "page.html").read_text(encoding="utf-8")
    run(forge_program, "check", "-r", cwd=tmp_path)
    compiled = run(forge_program, "code", cwd=tmp_path)
    compile(compiled, "code.py", "exec")


def test_a_new_project_works_at_once(installed: Path, tmp_path: Path) -> None:
    run(installed / "forge", "new", "project", "mine", cwd=tmp_path)
    run(installed / "forge", "-p", "mine", "check", cwd=tmp_path)
    run(installed / "forge", "-p", "mine", "show", cwd=tmp_path)
