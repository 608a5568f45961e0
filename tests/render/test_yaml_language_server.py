"""The schemas in the hands of the language server that editors use for YAML, as npm has it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "lsp"))

from speak import Client

from forge.cli.main import main

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = "yaml-language-server@1.25.0"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("node") is None or shutil.which("npm") is None, reason="needs node and npm"),
]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("node")
    command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(folder), PACKAGE]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip(f"npm does not get {PACKAGE} here")
    if done.returncode:
        pytest.skip(f"npm does not get {PACKAGE} here")
    return folder / "node_modules" / "yaml-language-server" / "bin" / "yaml-language-server"


@pytest.fixture
def client(
    program: Path, project: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Client]:
    monkeypatch.chdir(project)
    (project / "src").mkdir()
    (project / "src" / "code_here.py").write_text(
        "def run(*, steps: int = 1, mode: str = 'fast'):\n    '''Run it.'''\n"
    )
    (project / "configs" / "run.yaml").write_text("runner: {_target_: code_here.run}\n")
    assert main(["schema", "-o", "schemas/"]) == 0
    settings: dict[str, Any] = {
        "validate": True,
        "completion": True,
        "hover": True,
        "yamlVersion": "1.1",
        "schemaStore": {"enable": False},
        "schemas": {
            str(project / "schemas" / "config.json"): ["configs/*.yaml"],
            str(project / "schemas" / "choice.size.json"): ["configs/size/*.yaml"],
        },
    }
    command = ["node", str(program), "--stdio"]
    with Client(command, project, environment=environment, settings={"yaml": settings}) as made:
        made.notify("workspace/didChangeConfiguration", {"settings": {"yaml": settings}})
        yield made


def test_an_editor_sees_mistakes_choices_and_parameters(client: Client, project: Path) -> None:
    tiny, small = project / "configs" / "tiny.yaml", project / "configs" / "size" / "small.yaml"
    client.open(tiny)
    assert client.judged(tiny) == []
    client.change(tiny, "defaults:\n  - size: smal\n  - _self_\nrunner:\n  step: 2\n  mode: 3\n")
    assert {one["range"]["start"]["line"] for one in client.judged(tiny)} == {1, 4, 5}
    client.change(tiny, "defaults:\n  - size: \n")
    found = client.at("completion", tiny, 1, len("  - size: "))["items"]
    assert {"small", "large"} <= {one["label"] for one in found}
    assert "Two layers." in [one.get("documentation") for one in found]
    client.change(tiny, "runner:\n  steps: 2\n")
    assert "steps: int = 1  (run)" in client.at("hover", tiny, 1, 3)["contents"]["value"]
    client.open(small, "_target_: code_here.run\nlayers: 2\n")
    assert [one["range"]["start"]["line"] for one in client.judged(small)] == [1]


def test_a_comment_in_the_file_names_the_schema_too(client: Client, project: Path) -> None:
    file = project / "elsewhere.yaml"
    line = "# yaml-language-server: $schema=schemas/config.json\n"
    client.open(file, f"# @package _global_\n{line}defaults: [{{size: smal}}]\n")
    assert [one["range"]["start"]["line"] for one in client.judged(file)] == [2]
    client.change(file, f"# @package _global_\n{line}defaults: [{{size: small}}]\n")
    assert client.judged(file) == []
