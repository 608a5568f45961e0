"""Completion for prompt_toolkit that can neither freeze nor end the typing.

Each question is answered by a thread of its own, and given up after a time limit. What goes wrong is remembered as a complaint.
"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Final

from prompt_toolkit.completion import Completer, Completion

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable

    from prompt_toolkit.completion import CompleteEvent
    from prompt_toolkit.document import Document

    from forge.shell.complaint import Complaints
    from forge.shell.suggest import Suggestion

__all__ = ["ShellCompleter"]

_SECONDS: Final = 2.0
_MOST_WAITING: Final = 4


class ShellCompleter(Completer):
    """Asks ``ask(text, cursor)`` for suggestions."""

    def __init__(
        self, ask: Callable[[str, int], list[Suggestion]], complaints: Complaints, seconds: float = _SECONDS
    ) -> None:
        self._ask = ask
        self._complaints = complaints
        self._seconds = seconds
        self._threads: list[threading.Thread] = []

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:  # noqa: ARG002 - part of the interface
        """The completions, for callers that wait for them; prompt_toolkit itself asks `get_completions_async`."""
        done = threading.Event()
        answer: list[Suggestion] = []

        def deliver(found: list[Suggestion]) -> None:
            answer.extend(found)
            done.set()

        if self._start(document, deliver):
            if done.wait(self._seconds):
                yield from (_completion(one, document) for one in answer)
            else:
                self._too_slow()

    async def get_completions_async(
        self,
        document: Document,
        complete_event: CompleteEvent,  # noqa: ARG002 - part of the interface
    ) -> AsyncGenerator[Completion, None]:
        """The completions, while the event loop goes on with what is typed."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[list[Suggestion]] = loop.create_future()

        def deliver(found: list[Suggestion]) -> None:
            try:
                loop.call_soon_threadsafe(lambda: None if answer.done() else answer.set_result(found))
            except RuntimeError:
                return  # the prompt is over, nobody waits

        if not self._start(document, deliver):
            return
        try:
            found = await asyncio.wait_for(answer, self._seconds)
        except (asyncio.TimeoutError, TimeoutError):
            self._too_slow()
            return
        for one in found:
            yield _completion(one, document)

    def _start(self, document: Document, deliver: Callable[[list[Suggestion]], None]) -> bool:
        """Begin to answer, unless several earlier questions were never answered: then asking again would not help."""
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        if len(self._threads) >= _MOST_WAITING:
            return False

        def work() -> None:
            text, cursor = document.text, document.cursor_position
            deliver(self._complaints.guarded("completion failed", lambda: self._ask(text, cursor), []))

        self._threads.append(threading.Thread(target=work, name="forge-completion", daemon=True))
        self._threads[-1].start()
        return True

    def _too_slow(self) -> None:
        self._complaints.add("completion", f"no answer within {self._seconds:g} s")


def _completion(one: Suggestion, document: Document) -> Completion:
    return Completion(
        one.text,
        start_position=one.start - document.cursor_position,
        display=one.shown,
        display_meta=one.meaning,
        style=f"class:kind.{one.kind}" if one.kind else "",
    )
