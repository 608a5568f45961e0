"""The figures of a run: one JSON object a line in ``metrics.jsonl``, and the same to every logger that was asked for.

The lines are there whatever happens: each is handed to the system whole, so that a run that is killed leaves complete ones.
A logger that fails (its server is away, its disk is full) is told of once and never ends a run.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol

from forge.base.errors import FileError, ForgeError
from forge.base.files import make_folder, open_append, write_atomic

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TextIO

__all__ = ["METRICS", "Lines", "Metrics", "Sink", "Unheard", "open_metrics", "plain"]

METRICS: Final = "metrics.jsonl"


class Sink(Protocol):
    """A place that figures and texts go to."""

    name: str

    def write(self, record: Mapping[str, Any]) -> None:
        """Take the figures of one step, or of one evaluation."""

    def text(self, name: str, text: str, step: int) -> None:
        """Take a text, such as a sample of what the model writes."""

    def close(self) -> None:
        """Hand on what is still waiting, and end."""


class Lines:
    """A file of JSON lines that is added to: every line in it is complete and valid, whenever its writer died."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._file: TextIO | None = None

    def write(self, record: Mapping[str, Any]) -> None:
        """Add one line."""
        line = json.dumps(plain(record), allow_nan=False)
        try:
            if self._file is None:
                _drop_torn_line(self.path)
                self._file = open_append(self.path)
            self._file.write(line + "\n")
        except OSError:
            self.close()  # the next line finds out how much of this one was written
            raise

    def close(self) -> None:
        """Close the file; a later line opens it again."""
        file, self._file = self._file, None
        if file is not None:
            with contextlib.suppress(OSError):
                file.close()


class Metrics:
    """Where the loop, the evaluations and the callbacks hand their figures; `warn` tells a person what went wrong."""

    def __init__(
        self,
        folder: str,
        sinks: Sequence[Sink] = (),
        *,
        warn: Callable[[str], None] | None = None,
    ) -> None:
        self._lines = Lines(os.path.join(folder, METRICS))
        self._sinks = tuple(sinks)
        self._warn = warn or _to_stderr
        self._lost: dict[str, int] = {}

    def write(self, record: Mapping[str, Any]) -> None:
        """Take the figures of one step or one evaluation, or an event of the run."""
        self._try(METRICS, lambda: self._lines.write(record))
        for sink in self._sinks:
            self._try(sink.name, lambda sink=sink: sink.write(record))

    def text(self, name: str, text: str, step: int) -> None:
        """Take a text; it goes to the loggers alone."""
        for sink in self._sinks:
            self._try(sink.name, lambda sink=sink: sink.text(name, text, step))

    def close(self) -> None:
        """Hand on what is still waiting, and say how much was lost on the way."""
        for sink in self._sinks:
            self._try(sink.name, sink.close)
        self._lines.close()
        for name, count in self._lost.items():
            self._warn(f"{name}: {count} record{'s' * (count != 1)} could not be written")
        self._sinks, self._lost = (), {}

    def _try(self, name: str, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception as error:  # noqa: BLE001 - a logger may raise anything, and the run is worth more
            if name not in self._lost:
                self._warn(f"{name} does not take what it is given, and the run goes on: {_reason(error)}")
            self._lost[name] = self._lost.get(name, 0) + 1


class Unheard(Metrics):
    """The metrics of a process that does not speak for its run: nothing of them is kept."""

    def __init__(self) -> None:
        super().__init__("")

    def write(self, record: Mapping[str, Any]) -> None:
        """The first process writes the same."""


def open_metrics(
    folder: str,
    loggers: Sequence[Any],
    config: Mapping[str, Any] | None = None,
    *,
    warn: Callable[[str], None] | None = None,
) -> Metrics:
    """The metrics of a run with every logger of its config.

    A logger whose package is missing is an error; one that cannot reach its server is told of and left out.
    """
    make_folder(folder)
    warn = warn or _to_stderr
    sinks: list[Sink] = []
    for logger in loggers:
        try:
            sinks.append(logger.open(folder, dict(config or {})))
        except ForgeError:
            raise
        except Exception as error:  # noqa: BLE001 - as in Metrics
            warn(f"{type(logger).__name__} cannot be opened, and the run goes on without it: {_reason(error)}")
    return Metrics(folder, sinks, warn=warn)


def plain(value: Any) -> Any:
    """A value as strict JSON takes it: what is not finite becomes null, with its name under ``<key>_text`` beside it."""
    if isinstance(value, Mapping):
        return _plain_mapping(value)
    if isinstance(value, (list, tuple)):
        return [_spelled(item) if _is_wild(item) else plain(item) for item in value]
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    number = _number(value)
    return str(value) if number is value else plain(number)


def _plain_mapping(record: Mapping[Any, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in record.items():
        if _is_wild(value):
            found[str(key)], found[f"{key}_text"] = None, _spelled(value)
        else:
            found[str(key)] = plain(value)
    return found


def _number(value: Any) -> Any:
    item = getattr(value, "item", None)  # a number of numpy, or a tensor that holds one
    return item() if callable(item) else value


def _is_wild(value: Any) -> bool:
    number = _number(value)
    return isinstance(number, float) and not math.isfinite(number)


def _spelled(value: Any) -> str:
    number = _number(value)
    return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"


def _drop_torn_line(path: str) -> None:
    """Take away the beginning of a line that a dead writer, or a full disk, left at the end of the file."""
    if not os.path.exists(path):
        return
    with open(path, "rb") as file:
        content = file.read()
    if content and not content.endswith(b"\n"):
        write_atomic(path, content[: content.rfind(b"\n") + 1])


def _reason(error: Exception) -> str:
    text = (str(error).splitlines() or [""])[0]
    return text if isinstance(error, (FileError, OSError)) else f"{type(error).__name__}: {text}"


def _to_stderr(text: str) -> None:
    sys.stderr.write(f"warning: {text}\n")
