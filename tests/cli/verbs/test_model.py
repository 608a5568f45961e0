from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from conftest import Run


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, list[str], list[str]]]:
    """What was started: the module, its arguments, and the files in the folder that the second argument names."""
    found: list[tuple[str, list[str], list[str]]] = []

    def start(module: str, arguments: Sequence[str] = (), **_: object) -> int:
        found.append((module, list(arguments), sorted(os.listdir(arguments[1]))))
        return 7

    monkeypatch.setattr("forge.launch.process.run_module", start)
    return found


def test_the_config_is_frozen_for_the_process_that_has_torch(
    run: Run, started: list[tuple[str, list[str], list[str]]]
) -> None:
    assert run("model", "show", "size=large", "--json").code == 7
    ((module, arguments, files),) = started
    assert (module, arguments[0], arguments[2:]) == ("forge.ml.models", "show", ["--json"])
    assert {"graph.json", "run.json"} <= set(files)
    assert not os.path.exists(arguments[1])


def test_the_changes_of_the_line_are_in_it(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def start(_module: str, arguments: Sequence[str] = (), **_: object) -> int:
        with open(os.path.join(arguments[1], "run.json"), encoding="utf-8") as file:
            seen.append(json.load(file)["overrides"])
        return 0

    monkeypatch.setattr("forge.launch.process.run_module", start)
    assert run("model", "test", "size=large", "--seq", "8", "--batch=2").code == 0
    assert seen == [["size=large"]]


def test_a_folder_is_looked_at_as_it_is(
    run: Run, started: list[tuple[str, list[str], list[str]]], tmp_path: Path
) -> None:
    (tmp_path / "weights").mkdir()
    assert run("model", "test", str(tmp_path / "weights"), "--seq=8").code == 7
    assert started == [("forge.ml.models", ["test", str(tmp_path / "weights"), "--seq=8"], [])]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["model"], "model needs ACTION"),
        (["model", "draw"], "draw"),
        (["model", "show", "nowhere"], "there is no folder 'nowhere'"),
        (["model", "show", "--seq", "0"], "--seq is at least 1"),
        (["model", "show", "--batch", "few"], "--batch"),
    ],
)
def test_a_mistake_on_the_line_is_named(run: Run, words: list[str], message: str) -> None:
    done = run(*words)
    assert (done.code, done.out) == (2, "")
    assert message in done.errors
