from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest

import forge
from forge.base.errors import PolicyError
from forge.ml.workbench.part import build_part

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = "trainer: {_target_: builtins.dict, size: {_target_: builtins.int, _args_: ['%s']}}\n"


@pytest.fixture
def frozen(tmp_path: Path) -> str:
    (tmp_path / "configs").mkdir()
    (tmp_path / "project.yaml").write_text("name: demo\n")
    for name, number in (("good", "12"), ("bad", "twelve")):
        (tmp_path / "configs" / f"{name}.yaml").write_text(CONFIG % number)
        forge.open(tmp_path).config(name).freeze(tmp_path / name, "trainer.size")
    (tmp_path / "configs" / "refused.yaml").write_text("trainer: {_target_: os.system, command: ls}\n")
    forge.open(tmp_path).config("refused").freeze(tmp_path / "refused")
    return str(tmp_path)


def build(run: str, **changes: bool):  # noqa: ANN201
    return build_part(print, run=run, key="trainer.size", **{"as_json": False, "debug": False, **changes})


def test_a_part_is_built_and_told(frozen: str) -> None:
    assert build(f"{frozen}/good").text == "trainer.size: int\n12"
    assert json.loads(build(f"{frozen}/good", as_json=True).text) == {
        "target": "trainer.size",
        "type": "int",
        "repr": "12",
    }


def test_an_object_that_fails_is_a_failed_job(frozen: str) -> None:
    outcome = build(f"{frozen}/bad")
    assert (outcome.code, outcome.text) == (1, "")
    assert outcome.error.startswith("building trainer.size failed: ValueError: ")
    assert "configs/bad.yaml:1" in outcome.error
    with pytest.raises(ValueError, match="twelve"):
        build(f"{frozen}/bad", debug=True)


def test_what_objects_print_is_handed_over(frozen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("forge.build.frozen.Frozen.build_whole", lambda _: sys.stdout.write("hello\n"))
    assert build(f"{frozen}/good").printed == "hello\n"


def test_the_policy_of_the_project_holds(frozen: str) -> None:
    with pytest.raises(PolicyError):
        build(f"{frozen}/refused")
