"""What other processes get of a config, and what keeps them from being started."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from forge.api.project import open_project
from forge.build.frozen import thaw
from forge.cli.frozen_config import frozen

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Run


def test_a_frozen_config_is_there_until_the_end_of_the_block(project: Path) -> None:
    config = open_project(project).config("tiny", "trainer.max_steps=7")
    with frozen(config) as folder:
        assert thaw(folder).build()["max_steps"] == 7
        assert os.stat(folder).st_mode & 0o077 == 0
    assert not os.path.exists(folder)


def test_it_is_gone_after_a_failure_too(project: Path) -> None:
    config = open_project(project).config("tiny")
    with pytest.raises(ZeroDivisionError), frozen(config) as folder:
        raise ZeroDivisionError
    assert not os.path.exists(folder)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What would be run."""
    seen: list[Any] = []

    def record(module: str, arguments: list[str], **environment: Any) -> int:
        seen.append((module, arguments, environment))
        return 0

    monkeypatch.setattr("forge.launch.process.run_module", record)
    return seen


def _with_parts(project: Path) -> None:
    (project / "configs" / "parts.yaml").write_text(
        "defaults: [tiny, _self_]\n"
        "dataset: {_target_: forge.launch.topology.Mount, claim: a, path: /b, read_only: some}\n"
        "tokenizer: {_target_: builtins.dict}\n"
        "model: {_target_: builtins.dict}\n"
    )


@pytest.mark.parametrize("words", [["data", "show"], ["data", "stats"], ["eval"]])
def test_what_is_wrong_is_told_before_a_process_starts(
    run: Run, project: Path, started: list[Any], words: list[str]
) -> None:
    _with_parts(project)
    done = run("-t", "parts", *words)
    assert (done.code, started) == (2, []), done.errors
    assert (
        "configs/parts.yaml:2: dataset.read_only: 'read_only' of Mount must be bool, not the text 'some'" in done.errors
    )
    assert "parts: nothing was started, correct the 1 above first" in done.errors


@pytest.mark.parametrize(
    "words", [["model", "show"], ["data", "show", "dataset.read_only=true", "++trainer._target_=no.such"]]
)
def test_what_the_process_does_not_need_may_be_wrong(
    run: Run, project: Path, started: list[Any], words: list[str]
) -> None:
    _with_parts(project)
    assert run("-t", "parts", *words).code == 0
    assert len(started) == 1


def test_where_a_run_would_be_is_nothing_to_evaluation(run: Run, project: Path, started: list[Any]) -> None:
    _with_parts(project)
    done = run("-t", "parts", "eval", "dataset.read_only=true", "+launch={_target_: no.such.thing}")
    assert (done.code, len(started)) == (0, 1), done.errors
    assert run("-t", "parts", "check", "dataset.read_only=true", "+launch={_target_: no.such.thing}").code != 0
