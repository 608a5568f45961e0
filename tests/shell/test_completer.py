from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest
from prompt_toolkit.completion import CompleteEvent, Completion
from prompt_toolkit.document import Document

from forge.shell.complaint import Complaints
from forge.shell.completer import ShellCompleter
from forge.shell.suggest import Suggestion

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

EVENT = CompleteEvent(text_inserted=True)


def ask_once(completer: ShellCompleter, text: str) -> list[Completion]:
    async def collect() -> list[Completion]:
        return [one async for one in completer.get_completions_async(Document(text), EVENT)]

    return asyncio.run(collect())


def wait_once(completer: ShellCompleter, text: str) -> list[Completion]:
    return list(completer.get_completions(Document(text), EVENT))


@pytest.fixture(params=[ask_once, wait_once])
def ask(request: pytest.FixtureRequest) -> Callable[[ShellCompleter, str], list[Completion]]:
    """Both ways in which prompt_toolkit may ask."""
    way: Callable[[ShellCompleter, str], list[Completion]] = request.param
    return way


@pytest.fixture
def never() -> Iterator[threading.Event]:
    """What somebody may wait for as long as the test goes on."""
    event = threading.Event()
    yield event
    event.set()


def test_suggestions_become_completions(ask: Callable[[ShellCompleter, str], list[Completion]]) -> None:
    found = ask(
        ShellCompleter(lambda text, cursor: [Suggestion(text + "w", cursor - 3, "w", "it", "verb")], Complaints()),
        "sho",
    )
    assert [(one.text, one.start_position, one.display_text, one.display_meta_text) for one in found] == [
        ("show", -3, "w", "it")
    ]
    assert found[0].style == "class:kind.verb"


def test_a_failure_is_a_complaint_and_no_completion(ask: Callable[[ShellCompleter, str], list[Completion]]) -> None:
    complaints = Complaints()

    def fail(text: str, cursor: int) -> list[Suggestion]:
        raise RuntimeError(f"{text} {cursor}")

    assert ask(ShellCompleter(fail, complaints), "sho") == []
    assert complaints.text == "completion failed: RuntimeError: sho 3"


def test_what_does_not_answer_is_given_up_and_after_some_times_not_asked(
    ask: Callable[[ShellCompleter, str], list[Completion]], never: threading.Event
) -> None:
    complaints = Complaints()
    asked: list[str] = []

    def hang(text: str, cursor: int) -> list[Suggestion]:
        asked.append(text)
        never.wait()
        return [Suggestion(text, cursor, text)]

    completer = ShellCompleter(hang, complaints, seconds=0.02)
    for _ in range(6):
        assert ask(completer, "x") == []
    assert complaints.text == "completion: no answer within 0.02 s"
    assert len(asked) == 4


def test_it_answers_again_once_the_lost_questions_are_answered(never: threading.Event) -> None:
    hanging = [True]

    def sometimes(text: str, cursor: int) -> list[Suggestion]:
        if hanging[0]:
            never.wait()
        return [Suggestion(text, cursor, text)]

    completer = ShellCompleter(sometimes, Complaints(), seconds=0.02)
    for _ in range(5):
        assert wait_once(completer, "x") == []
    hanging[0] = False
    never.set()
    for thread in threading.enumerate():
        if thread.name == "forge-completion":
            thread.join()
    assert len(wait_once(ShellCompleter(sometimes, Complaints()), "x")) == 1
    assert len(wait_once(completer, "x")) == 1
