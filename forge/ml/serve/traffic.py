"""Figures about the server's work, as Prometheus reads them; their names and labels are fixed, whatever clients send."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from forge.ml.serve.engine import EngineLoad

__all__ = ["Traffic"]

_BOUNDS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_STATUSES: Final = ("2xx", "4xx", "5xx")


class _Durations:
    def __init__(self) -> None:
        self.counts = [0] * (len(_BOUNDS) + 1)
        self.sum = 0.0

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(_BOUNDS, seconds)] += 1
        self.sum += seconds


class Traffic:
    """Counts requests, tokens and seconds."""

    def __init__(self) -> None:
        self.answers = dict.fromkeys(_STATUSES, 0)
        self.busy = 0
        self.unauthorised = 0
        self.gone = 0
        self.prompt_tokens = 0
        self.generated_tokens = 0
        self._first = _Durations()
        self._whole = _Durations()

    def answered(self, status: int) -> None:
        """Count an answer."""
        kind = f"{status // 100}xx"
        if kind in self.answers:
            self.answers[kind] += 1
        self.busy += status in (429, 503)
        self.unauthorised += status == 401  # noqa: PLR2004 - what the status is called

    def first_token(self, seconds: float) -> None:
        """Note how long a client waited for the first token."""
        self._first.add(seconds)

    def finished(self, seconds: float, prompt: int, generated: int) -> None:
        """Note a request that was answered to its end."""
        self._whole.add(seconds)
        self.prompt_tokens += prompt
        self.generated_tokens += generated

    def text(self, load: EngineLoad) -> str:
        """All figures in Prometheus' text format."""
        return "".join(self._lines(load))

    def _lines(self, load: EngineLoad) -> Iterator[str]:
        yield "# HELP forge_answers_total Answers by the kind of their status.\n# TYPE forge_answers_total counter\n"
        for kind, count in self.answers.items():
            yield f'forge_answers_total{{status="{kind}"}} {count}\n'
        yield from _single("forge_busy_total", "counter", "Requests refused for want of room.", self.busy)
        yield from _single("forge_unauthorised_total", "counter", "Requests without a valid key.", self.unauthorised)
        yield from _single("forge_clients_gone_total", "counter", "Clients that left before the end.", self.gone)
        yield from _single("forge_prompt_tokens_total", "counter", "Tokens of prompts.", self.prompt_tokens)
        yield from _single("forge_generated_tokens_total", "counter", "Tokens generated.", self.generated_tokens)
        yield from _single("forge_running", "gauge", "Texts that are being generated.", load.running)
        yield from _single("forge_waiting", "gauge", "Texts that wait for a slot.", load.waiting)
        yield from _histogram("forge_first_token_seconds", "Until the first token.", self._first)
        yield from _histogram("forge_request_seconds", "Until the last token.", self._whole)


def _single(name: str, kind: str, told: str, value: int) -> Iterator[str]:
    yield f"# HELP {name} {told}\n# TYPE {name} {kind}\n{name} {value}\n"


def _histogram(name: str, told: str, durations: _Durations) -> Iterator[str]:
    yield f"# HELP {name} {told}\n# TYPE {name} histogram\n"
    total = 0
    for bound, count in zip(_BOUNDS, durations.counts, strict=False):
        total += count
        yield f'{name}_bucket{{le="{bound}"}} {total}\n'
    total += durations.counts[-1]
    yield f'{name}_bucket{{le="+Inf"}} {total}\n{name}_sum {durations.sum:.6f}\n{name}_count {total}\n'
