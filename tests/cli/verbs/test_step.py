from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from forge.launch.workbench import Answer

if TYPE_CHECKING:
    from conftest import Run


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the verb asks in place of a process."""
    calls: list[Any] = []

    def ask(context: Any, action: str, arguments: dict[str, Any]) -> Answer:
        calls.append((action, arguments, context.config.overrides))
        return Answer(1, "step 1", error="the loss is nan")

    monkeypatch.setattr("forge.cli.workbench.ask", ask)
    return calls


def test_steps_are_taken_with_the_changes_of_the_line(run: Run, asked: list[Any]) -> None:
    assert run("step", "3", "trainer.max_steps=7", "--json") == (1, "step 1\n", "error: the loss is nan\n")
    assert run("step").code == 1
    assert asked == [
        ("step", {"count": 3, "as_json": True}, ("trainer.max_steps=7",)),
        ("step", {"count": 1, "as_json": False}, ()),
    ]


@pytest.mark.parametrize("words", [["0"], ["-1"], ["two"], ["1.5"], ["1", "2"]])
def test_what_is_no_number_of_steps_starts_nothing(run: Run, asked: list[Any], words: list[str]) -> None:
    assert run("step", *words).code == 2
    assert asked == []
