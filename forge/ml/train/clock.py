"""Where the time of a step goes: data, forward, backward, optimizer, checkpoint, and the rest."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    import torch

__all__ = ["PARTS", "StepClock"]

PARTS: Final = ("data", "forward", "backward", "optimizer", "checkpoint", "other")


class StepClock:
    """Splits the time of a step into its parts, which do not overlap.

    On a CPU the parts are measured by the clock. A GPU works behind the process that feeds it, so there each part is measured
    between two marks in the GPU's own queue, and never waits for it: the marks are read when the step's loss has been read, and
    by then they have been passed. Only a loop that does not read its loss is made to wait, for the last mark. `tell` is told of
    each part when it begins.
    """

    def __init__(self, device: torch.device | str = "cpu", tell: Callable[[str], None] | None = None) -> None:
        self._tell = tell
        self._marks: _Marks = _GpuMarks(device) if str(device).startswith("cuda") else _Marks()
        self._between: dict[str, float] = {}
        self._started = 0.0

    def start(self) -> None:
        """A step begins."""
        self._marks.clear()
        self._started = time.perf_counter()

    def part(self, name: str) -> _Part:
        """A context in which the time is that of one part; it may be entered many times in a step."""
        if self._tell is not None:
            self._tell(name)
        return _Part(self._marks, name)

    def between(self, name: str) -> _Between:
        """A context for what is done between two steps and holds up the next one, to which its time is added."""
        return _Between(self._between, name)

    def stop(self) -> dict[str, float]:
        """A step is over: the seconds of each part, and under `other` what is left of the whole."""
        seconds = dict.fromkeys(PARTS, 0.0) | self._marks.seconds()
        whole = time.perf_counter() - self._started
        seconds["other"] = max(0.0, whole - sum(seconds.values()))
        for name, spent in self._between.items():
            seconds[name] = seconds.get(name, 0.0) + spent
        self._between.clear()
        return seconds


class _Marks:
    """Times of the processor."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}

    def clear(self) -> None:
        self._seconds = {}

    def now(self) -> Any:
        return time.perf_counter()

    def add(self, name: str, began: Any) -> None:
        self._seconds[name] = self._seconds.get(name, 0.0) + time.perf_counter() - began

    def seconds(self) -> dict[str, float]:
        return self._seconds


class _GpuMarks(_Marks):
    """Marks in the queue of a GPU, made once and used again in each step."""

    def __init__(self, device: torch.device | str) -> None:
        super().__init__()
        self._device = device
        self._used: list[tuple[str, Any, Any]] = []
        self._free: list[Any] = []

    def clear(self) -> None:
        self._free += [event for _, *events in self._used for event in events]
        self._used = []

    def now(self) -> Any:
        import torch

        event = self._free.pop() if self._free else torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self._device))
        return event

    def add(self, name: str, began: Any) -> None:
        self._used.append((name, began, self.now()))

    def seconds(self) -> dict[str, float]:
        if self._used and not self._used[-1][2].query():
            self._used[-1][2].synchronize()
        found: dict[str, float] = {}
        for name, began, ended in self._used:
            found[name] = found.get(name, 0.0) + began.elapsed_time(ended) / 1000
        return found


class _Part:
    """One stretch of one part."""

    __slots__ = ("_began", "_marks", "_name")

    def __init__(self, marks: _Marks, name: str) -> None:
        self._marks, self._name = marks, name

    def __enter__(self) -> None:
        self._began = self._marks.now()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._marks.add(self._name, self._began)


class _Between:
    """One stretch between two steps."""

    __slots__ = ("_began", "_name", "_seconds")

    def __init__(self, seconds: dict[str, float], name: str) -> None:
        self._seconds, self._name = seconds, name

    def __enter__(self) -> None:
        self._began = time.perf_counter()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        spent = time.perf_counter() - self._began
        self._seconds[self._name] = self._seconds.get(self._name, 0.0) + spent
