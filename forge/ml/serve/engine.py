"""What the server asks of an engine, and what it hears from it: plain values, whatever generates the tokens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from concurrent.futures import Future

__all__ = ["Ended", "EngineBusy", "EngineLoad", "Heard", "RequestRefused", "Sampled", "Sampling", "TextEngine", "Work"]


class EngineBusy(Exception):  # noqa: N818 - it says what is so, and is no failure
    """There is no room for more work now; ``later`` is the seconds after which it is worth another try."""

    def __init__(self, reason: str, *, later: int = 1, stopping: bool = False) -> None:
        super().__init__(reason)
        self.later = later
        self.stopping = stopping


class RequestRefused(Exception):  # noqa: N818 - as above
    """What a client asks for cannot be done, with the reason and the field that asks for it."""

    def __init__(self, reason: str, param: str | None = None) -> None:
        super().__init__(reason)
        self.param = param


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are chosen. ``top_logprobs`` is None when no probabilities are wanted; ``schema`` is the text of a JSON schema."""

    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    seed: int | None = None
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    top_logprobs: int | None = None
    stop_tokens: frozenset[int] = frozenset()
    schema: str | None = None


@dataclass(frozen=True, slots=True)
class Work:
    """One text to generate: the tokens it goes on from, and how."""

    prompt: tuple[int, ...]
    sampling: Sampling


@dataclass(frozen=True, slots=True)
class Sampled:
    """A token that was generated; its logarithmic probability and those of the likeliest ones, where they were asked for."""

    token: int
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Ended:
    """No more tokens come: the model ended its text, the length is reached, the work was cancelled, or it failed."""

    reason: Literal["stop", "length", "cancelled", "error"]
    detail: str = ""


Heard: TypeAlias = Callable[[Sampled | Ended], None]
"""Called from the engine's own thread for each token, and once for the end."""


@dataclass(frozen=True, slots=True)
class EngineLoad:
    """How much an engine has to do: texts that are being generated, texts that wait, and whether it works at all."""

    running: int
    waiting: int
    alive: bool = True


class TextEngine(Protocol):
    """Generates texts from tokens, many at a time. All of its methods may be called from any thread."""

    name: str
    longest: int
    """The tokens that a prompt and its text may have together."""
    pooling: str
    """How the states of a text become its embedding, or an empty text when this model makes no embeddings."""
    constrains: str
    """Why texts cannot be held to a JSON schema; an empty text when they can."""

    def start(self) -> None:
        """Begin to work."""

    def close(self) -> None:
        """Cancel everything and end; afterwards nothing is heard any more."""

    def submit(self, work: Work, heard: Heard) -> int:
        """Take on a text, and give it a number; EngineBusy when there is no room, RequestRefused when it cannot be done."""

    def cancel(self, number: int) -> None:
        """Forget a text; its slot is free before the next token."""

    def embed(self, prompts: Sequence[Sequence[int]]) -> Future[list[list[float]]]:
        """An embedding for each prompt."""

    @property
    def load(self) -> EngineLoad:
        """What it has to do now."""
