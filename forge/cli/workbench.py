"""Asking the workbench, a process with torch, about the config of a line; a shell keeps one warm, a single line starts its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

from forge.base.errors import ForgeError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from forge.cli.output import Output
    from forge.cli.session import Context
    from forge.launch.workbench import Answer, Listener, Request

__all__ = ["Workbench", "ask", "require_run", "show_answer"]

_CLEARED: Final = "\r\x1b[K"


class Workbench(Protocol):
    """Where requests are answered."""

    def start(self, source_folders: Sequence[str]) -> None:
        """See to a process that may import from these folders, which hold the code of a project."""

    def ask(self, request: Request, listener: Listener) -> Answer:
        """Wait for the answer to a request."""

    def end(self) -> None:
        """The line is done."""


class _OneLine:
    """A process for a single line."""

    def start(self, source_folders: Sequence[str]) -> None:  # noqa: ARG002 - it has imported nothing yet
        from forge.launch.workbench import Worker  # only what asks needs it

        self._worker = Worker()

    def ask(self, request: Request, listener: Listener) -> Answer:
        return self._worker.ask(request, listener)

    def end(self) -> None:
        self._worker.close()


class _Telling:
    """Tells a person at the terminal how far a request is."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._shown = False

    def note(self, text: str) -> None:
        self.progress("")
        self._output.note(text)

    def progress(self, text: str) -> None:
        errors = self._output.errors
        if errors.isatty() and (text or self._shown):
            errors.write(_CLEARED + text)
            errors.flush()
        self._shown = bool(text)


def ask(context: Context, action: str, arguments: Mapping[str, Any], *, part: str | None = None) -> Answer:
    """Freeze the config, or one part of it, for the workbench, and wait for the answer."""
    from forge.cli.frozen_config import frozen  # `forge --help` asks nothing
    from forge.cli.session import current_folder
    from forge.launch.workbench import Request

    config = context.config
    config.graph_of(part)  # what is wrong with the config shows before anything is started
    bench: Workbench = context.session.workbench or _OneLine()
    with frozen(config, part) as folder:
        context.output.flush()
        bench.start(config.project.source_folders)
        try:
            request = Request(action, {"run": folder, **arguments}, current_folder(), context.session.debug)
            return bench.ask(request, _Telling(context.output))
        finally:
            bench.end()


def require_run(context: Context) -> None:
    """Refuse a config that describes no run."""
    if context.config.main is None:
        raise UsageError(
            f"{context.config.name} describes no run",
            hint="a run needs a trainer: add '- /trainer: default' to the config's defaults",
        )


def show_answer(context: Context, answer: Answer) -> int:
    """Print an answer, or write its result where the line wants it, and return its exit code."""
    if answer.printed:
        context.output.write(answer.printed)
    if answer.error:
        context.output.error(ForgeError(answer.error))
    if answer.text:
        context.emit(answer.text, context.config.name, ".json" if context.options.json else ".txt")
    return answer.code
