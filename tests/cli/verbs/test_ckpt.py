from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from forge.ml.checkpoint.store import Store

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Forge, Run


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the verb starts in place of the module."""
    calls: list[Any] = []

    def run_module(module: str, arguments: list[str]) -> int:
        calls.append((module, *arguments))
        return 1

    monkeypatch.setattr("forge.launch.process.run_module", run_module)
    return calls


def save(folder: Path, *steps: int) -> Path:
    store = Store(folder / "checkpoints")
    for step in steps:
        with store.begin(step) as stage:
            stage.write_bytes("config.json", f'{{"step": {step}}}'.encode())
            stage.commit()
    store.release()
    return folder


def test_the_module_does_it_and_its_exit_code_is_the_verbs(run: Run, started: list[Any], empty: Path) -> None:
    save(empty, 1)
    assert run("ckpt", "verify", "--quick", "--json", str(empty)).code == 1
    assert run("ckpt", "rm", "--force", "checkpoints/checkpoint-1", cwd=empty).code == 1
    assert run("ckpt", "ls", cwd=empty).code == 1
    (empty / "-dash").mkdir()
    assert run("ckpt", "ls", "--", "-dash", cwd=empty).code == 1
    assert started == [
        ("forge.ml.checkpoint", "verify", "--json", "--quick", str(empty)),
        ("forge.ml.checkpoint", "rm", "--force", "checkpoints/checkpoint-1"),
        ("forge.ml.checkpoint", "ls", "."),
        ("forge.ml.checkpoint", "ls", "./-dash"),
    ]


def test_without_a_folder_it_is_the_one_that_the_config_writes_to(run: Run, started: list[Any], project: Path) -> None:
    assert run("ckpt", "ls") == (0, "no checkpoints in output/demo/tiny\n", "")
    assert run("ckpt", "verify", "--json") == (0, "[]\n", "")
    save(project / "output" / "demo" / "tiny", 1)
    save(project, 1)
    assert run("-t", "tiny", "ckpt", "ls").code == 1
    assert run("ckpt", "link", "+trainer.output_dir=elsewhere").code == 1
    assert run("ckpt", "ls").code == 1
    assert [call[-1] for call in started] == ["output/demo/tiny", "elsewhere", "."]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["ckpt"], "ckpt needs ACTION"),
        (["ckpt", "lst"], "did you mean 'ls'"),
        (["ckpt", "ls", "nosuch"], "there is no folder 'nosuch'"),
        (["ckpt", "ls", ".", "."], "ckpt ls takes one folder, not 2"),
        (["ckpt", "ls", "--force"], "ckpt ls has no flag --force"),
        (["ckpt", "link", "--quick"], "ckpt link has no flag --quick"),
        (["ckpt", "rm"], "name the checkpoints to remove"),
        (["ckpt", "ls", ".", "trainer.max_steps=1"], "changes a config"),
        (["-t", "bare", "ckpt", "ls"], "bare describes no run"),
    ],
)
def test_a_mistake_is_named_before_anything_is_started(
    run: Run, started: list[Any], project: Path, words: list[str], message: str
) -> None:
    (project / "configs" / "bare.yaml").write_text("size: {_target_: builtins.dict}\n")
    done = run(*words)
    assert (done.code, done.out, started) == (2, "", [])
    assert message in done.errors


def test_the_whole_way(forge: Forge, empty: Path) -> None:
    save(empty, 1, 2)
    listed = forge("ckpt", "ls", str(empty), "--json")
    assert [(one["step"], one["valid"]) for one in json.loads(listed.stdout)] == [(1, True), (2, True)]
    assert forge("ckpt", "link", str(empty)).stdout == f"{empty} now loads as checkpoint-2\n"
    assert (empty / "config.json").read_text() == '{"step": 2}'
    os.truncate(empty / "checkpoints" / "checkpoint-1" / "config.json", 0)
    done = forge("ckpt", "verify", str(empty))
    assert done.returncode == 1
    assert "config.json has 0 bytes in place of 11" in done.stdout
    refused = forge("ckpt", "rm", str(empty / "checkpoints" / "checkpoint-2"))
    assert refused.returncode == 2
    assert refused.stderr.startswith("error: checkpoint-2 is linked")


def test_finalize_is_an_export_of_the_run_that_is_meant(
    run: Run, started: list[Any], empty: Path, project: Path
) -> None:
    save(empty, 1)
    assert run("ckpt", "finalize", str(empty), "new").code == 1
    assert run("ckpt", "finalize", "--best", "new", cwd=empty).code == 1
    assert run("-t", "tiny", "ckpt", "finalize", "new").code == 1
    assert started == [
        ("forge.ml.convert", "export", "--", str(empty), "new"),
        ("forge.ml.convert", "export", "--best", "--", ".", "new"),
        ("forge.ml.convert", "export", "--", "output/demo/tiny", "new"),
    ]
    (project / "new").mkdir()
    assert "new is there already" in run("ckpt", "finalize", str(empty), "new").errors
    assert "takes a run and the folder to make" in run("ckpt", "finalize").errors
    assert "ckpt ls has no flag --best" in run("ckpt", "ls", "--best").errors
