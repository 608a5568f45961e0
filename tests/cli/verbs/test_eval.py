from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from forge.build.frozen import thaw
from forge.launch import process

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Run


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What would be run, with the trainer of the frozen config, while its folder is there; it ends with code 1."""
    seen: list[Any] = []

    def record(module: str, arguments: list[str], **_: Any) -> int:
        seen.append((module, arguments, thaw(arguments[0]).build()))
        return 1

    monkeypatch.setattr(process, "run_module", record)
    return seen


def test_the_frozen_config_is_handed_on_and_removed(run: Run, started: list[Any]) -> None:
    assert run("-t", "other", "eval", "--max-steps", "7") == (1, "", "")
    ((module, arguments, trainer),) = started
    assert module == "forge.ml.evaluate"
    assert len(arguments) == 1
    assert not os.path.exists(arguments[0])
    assert trainer["max_steps"] == 7
    assert trainer["output_dir"] == os.path.join("output", "demo", "other")


def test_a_folder_that_the_config_names_is_kept(run: Run, project: Path, started: list[Any]) -> None:
    (project / "configs" / "there.yaml").write_text("defaults: [tiny, _self_]\ntrainer: {output_dir: elsewhere}\n")
    run("-t", "there", "eval")
    assert started[0][2]["output_dir"] == "elsewhere"


def test_flags_are_handed_on_as_they_are(run: Run, started: list[Any]) -> None:
    run("eval", "--checkpoint", "a b", "--dataset", "held_out", "--json")
    run("eval", "--tasks", "one,two", "--task-folder", "T", "--limit", "3")
    assert [arguments[1:] for _, arguments, _ in started] == [
        ["--checkpoint=a b", "--dataset=held_out", "--json"],
        ["--tasks=one,two", "--task-folder=T", "--limit=3"],
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--limit", "3"], "--task-folder and --limit are for tasks"),
        (["--task-folder", "T"], "--task-folder and --limit are for tasks"),
        (["--tasks", "a", "--dataset", "b"], "--tasks asks lm-eval, --dataset a held-out set"),
    ],
)
def test_flags_that_do_not_belong_together_are_named(run: Run, started: list[Any], words: list[str], said: str) -> None:
    done = run("eval", *words)
    assert (done.code, started) == (2, [])
    assert said in done.errors


def test_a_config_without_a_run_is_refused(run: Run, project: Path, started: list[Any]) -> None:
    (project / "configs" / "bare.yaml").write_text("a: 1\n")
    done = run("-t", "bare", "eval")
    assert (done.code, started) == (2, [])
    assert "bare describes no run" in done.errors


def test_a_secret_is_not_written_down(run: Run, started: list[Any]) -> None:
    done = run("eval", "+trainer.key=${api_key}")
    assert (done.code, started) == (2, [])
    assert "hunter2" not in done.errors


def test_json_is_what_programs_get(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(_module: str, _arguments: list[str], **_: Any) -> int:
        print(json.dumps({"datasets": []}))  # noqa: T201 - in place of the process
        return 0

    monkeypatch.setattr(process, "run_module", answer)
    done = run("eval", "--json")
    assert json.loads(done.out) == {"datasets": []}
