"""What `forge eval` prints, and how its mistakes are told."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from forge.base.errors import DataError
from forge.ml.evaluate import __main__ as program

pytestmark = pytest.mark.torch
subject = pytest.importorskip("forge.ml.evaluate.subject")

FOUND = {
    "weights": "output/checkpoint-2",
    "step": 2,
    "datasets": [
        {"dataset": "held_out", "eval_loss": 2.5, "perplexity": 12.18, "tokens": 12345},
        {"dataset": "other", "eval_loss": math.nan, "perplexity": math.inf, "tokens": 7},
    ],
    "tasks": {},
}
TABLE = """\
dataset     loss  perplexity  tokens
held_out  2.5000       12.18  12,345
other        nan         inf       7
"""
TASKS = """\
task  figure   value
a        acc  0.5000
a         f1  0.2500
"""


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the evaluation is asked for; what it finds is under ``found``."""
    seen: dict[str, Any] = {"found": FOUND}

    def answer(folder: str, **settings: Any) -> Any:
        seen.update(settings, folder=folder)
        if isinstance(seen["found"], Exception):
            raise seen["found"]
        return seen["found"]

    monkeypatch.setattr(subject, "evaluate_config", answer)
    return seen


def test_each_set_is_a_line_of_a_table(asked: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main(["FOLDER"]) == 0
    assert capsys.readouterr().out == TABLE
    assert (asked["folder"], asked["checkpoint"], asked["dataset"], asked["tasks"]) == ("FOLDER", "auto", None, ())


def test_each_figure_of_a_task_is_a_line(asked: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    asked["found"] = {"weights": "w", "step": None, "datasets": [], "tasks": {"a": {"acc": 0.5, "f1": 0.25}}}
    arguments = ["FOLDER", "--checkpoint=C", "--tasks=a,b", "--task-folder=T", "--limit=3"]
    assert program.main(arguments) == 0
    assert capsys.readouterr().out == TASKS
    assert (asked["checkpoint"], asked["tasks"], asked["task_folder"], asked["limit"]) == ("C", ["a", "b"], "T", 3)


def test_programs_get_strict_json(asked: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main(["FOLDER", "--json", "--dataset=other"]) == 0
    assert asked["dataset"] == "other"
    found = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert found["datasets"][0] == FOUND["datasets"][0]
    assert found["datasets"][1]["eval_loss_text"] == "NaN"


@pytest.mark.parametrize("error", [DataError("nothing held out"), ValueError("nothing held out")])
def test_a_mistake_is_a_line_and_code_2(
    asked: dict[str, Any], capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    asked["found"] = error
    assert program.main(["FOLDER"]) == 2
    assert capsys.readouterr() == ("", "error: nothing held out\n")
