from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import forge
from forge.launch.preflight_folders import input_findings, mixing_findings, trust_findings
from forge.plan.read import read_run

if TYPE_CHECKING:
    from pathlib import Path


def findings(output: Path, *changes: str) -> list[str]:
    handle = forge.open("pydoc").config("pretrain/tiny", *changes)
    reading = read_run(handle.graph.root, handle.main)
    assert reading is not None
    root, main = handle.graph.root, str(handle.main)
    found = [*input_findings(root, main), *mixing_findings(root, reading, main, str(output))]
    return [f"{one.key}: {one.message}" for one in found]


def test_folders_that_are_named_have_to_be_there(tmp_path: Path) -> None:
    assert findings(tmp_path) == []
    gone = tmp_path / "gone"
    found = findings(tmp_path, f"model.path={gone}", f"trainer.resume_from_checkpoint={gone}")
    assert found == [
        f"trainer.resume_from_checkpoint: there is no folder {gone}",
        f"model.path: there is no model folder {gone}",
    ]
    gone.mkdir()
    assert findings(tmp_path, f"model.path={gone}", f"trainer.resume_from_checkpoint={gone}") == []


@pytest.mark.parametrize(
    ("changes", "refused"),
    [
        ([], True),
        (["trainer.resume_from_checkpoint=auto"], False),
        (["trainer.overwrite_output_dir=true"], False),
        (["trainer.save_strategy='no'"], False),
    ],
)
def test_a_new_run_does_not_mix_its_checkpoints_with_others(
    tmp_path: Path, changes: list[str], *, refused: bool
) -> None:
    (tmp_path / "checkpoints" / "checkpoint-20").mkdir(parents=True)
    said = f"trainer.output_dir: {tmp_path} holds checkpoints up to step 20 already"
    assert findings(tmp_path, *changes) == ([said] if refused else [])


def test_a_run_is_not_written_into_a_checkpoint(tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint-20"
    checkpoint.mkdir()
    (checkpoint / "manifest.json").write_text("{}")
    said = (
        f"trainer.output_dir: the run would be written into the checkpoint {checkpoint}, which would not be whole then"
    )
    assert findings(checkpoint / "tuned") == [said]


def test_code_of_the_project_is_asked_for_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "mine.py").write_text("")
    handle = forge.open("pydoc").config("pretrain/tiny", "+trainer.callbacks=[{_target_: mine.Hook}]")
    (found,) = trust_findings(handle.graph.root, "trainer", [str(tmp_path / "src")])
    assert "is not trusted yet" in found.message
    assert "forge trust" in found.hint
    assert trust_findings(handle.graph.root, "model", [str(tmp_path / "src")]) == []
    assert trust_findings(handle.graph.root, "nosuch", [str(tmp_path / "src")]) == []
    assert list(input_findings(handle.graph.root, "nosuch")) == []
