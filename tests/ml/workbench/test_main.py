"""The process itself: requests come in, answers go out, and what it has imported stays."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from forge.base.errors import ToolError
from forge.launch.workbench import Answer, Request, Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


class Silent:
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def progress(self, text: str) -> None:
        """Nobody looks."""


@pytest.fixture
def worker() -> Iterator[Worker]:
    made = Worker()
    yield made
    made.kill()


def request(action: str, **arguments: object) -> Request:
    return Request(action, arguments, "/")


def test_a_request_that_makes_no_sense_does_not_end_it(worker: Worker) -> None:
    for action, arguments in (("fly", {}), ("build", {"wings": 2})):
        answer = worker.ask(request(action, **arguments), Silent())
        assert (answer.code, answer.text) == (1, "")
        assert answer.error
    assert worker.alive


def test_a_folder_that_is_gone_is_an_answer(worker: Worker, tmp_path: Path) -> None:
    asked = request("build", run=str(tmp_path / "gone"), key="x", as_json=False, debug=False)
    answer = worker.ask(asked, Silent())
    assert answer.code == 2
    assert "gone" in answer.error
    answer = worker.ask(Request("build", {}, str(tmp_path / "gone")), Silent())
    assert answer.code == 2


def test_it_dies_with_whom_it_works_for(worker: Worker) -> None:
    worker.ask(request("fly"), Silent())
    worker.close()
    with pytest.raises((ToolError, ValueError)):
        worker.ask(request("fly"), Silent())


@pytest.mark.slow
@pytest.mark.torch
def test_a_model_is_built_and_a_step_taken_in_one_process(worker: Worker, freeze: Callable[..., str]) -> None:
    pytest.importorskip("torch")
    silent = Silent()
    built = worker.ask(request("build", run=freeze(part="model"), key="model", as_json=False, debug=False), silent)
    assert built.code == 0
    assert built.text.startswith("model: transformers.")
    taken = worker.ask(request("step", run=freeze(), count=1, as_json=False), silent)
    assert isinstance(taken, Answer)
    assert taken.code == 0
    assert taken.text.startswith("step")
    assert any(note.startswith("model: ") for note in silent.notes)
