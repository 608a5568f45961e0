from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from forge.launch.workbench import Answer

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Run


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, project: Path) -> list[Any]:
    """What the verb asks in place of a process."""
    (project / "configs" / "rows.yaml").write_text(
        "trainer: {_target_: builtins.dict}\ndataset: {_target_: builtins.dict, part: {_target_: builtins.dict}}\n"
    )
    calls: list[Any] = []

    def ask(_: Any, action: str, arguments: dict[str, Any]) -> Answer:
        calls.append((action, arguments))
        return Answer(0, "a batch")

    monkeypatch.setattr("forge.cli.workbench.ask", ask)
    return calls


USUAL = {"node": "dataset", "split": "train", "whole": False, "width": 100, "colour": False, "as_json": False}


@pytest.mark.parametrize(
    ("words", "changes"),
    [
        ([], {}),
        (["dataset"], {}),
        (["dataset.part", "--all"], {"node": "dataset.part", "whole": True}),
        (["--split", "held_out", "--json"], {"split": "held_out", "as_json": True}),
    ],
)
def test_a_batch_is_asked_for(run: Run, asked: list[Any], words: list[str], changes: dict[str, Any]) -> None:
    assert run("-t", "rows", "peek", *words) == (0, "a batch\n", "")
    assert asked == [("peek", {**USUAL, **changes})]


def test_a_part_that_is_not_there_starts_nothing(run: Run, asked: list[Any]) -> None:
    done = run("-t", "rows", "peek", "dataset.parts")
    assert done.code == 2
    assert "parts" in done.errors
    assert run("peek").code == 2  # it has no dataset
    assert asked == []


def test_the_result_goes_to_a_file(run: Run, asked: list[Any], project: Path) -> None:
    assert run("-t", "rows", "peek", "-o", "batch.txt") == (0, "", "")
    assert (project / "batch.txt").read_text() == "a batch\n"
    assert len(asked) == 1
