"""What the server answers, as its own OpenAPI description tells it: the form of each answer, and of each error."""

from __future__ import annotations

from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict

__all__ = [
    "ERRORS",
    "ChatAnswer",
    "CompletionAnswer",
    "EmbeddingAnswer",
    "ErrorAnswer",
    "HealthAnswer",
    "ModelCard",
    "ModelList",
    "TextAnswer",
    "TokenAnswer",
    "answers",
]


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid", protected_namespaces=())


class _Mistake(_Answer):
    message: str
    type: str
    param: str | None
    code: str | None


class ErrorAnswer(_Answer):
    """What is wrong with a request, and which field says it."""

    error: _Mistake


class _Usage(_Answer):
    prompt_tokens: int
    total_tokens: int


class _TextUsage(_Usage):
    completion_tokens: int


class _Function(_Answer):
    name: str
    arguments: str


class _Call(_Answer):
    id: str
    type: Literal["function"]
    function: _Function


class _Said(_Answer):
    role: Literal["assistant"]
    content: str | None
    tool_calls: list[_Call] = []


class _Likelihood(_Answer):
    token: str
    logprob: float
    bytes: list[int]


class _Token(_Likelihood):
    top_logprobs: list[_Likelihood]


class _ChatLogprobs(_Answer):
    content: list[_Token]
    refusal: str | None


class _ChatChoice(_Answer):
    index: int
    message: _Said
    logprobs: _ChatLogprobs | None
    finish_reason: Literal["stop", "length", "tool_calls"]


class ChatAnswer(_Answer):
    """How a chat goes on."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[_ChatChoice]
    usage: _TextUsage


class _TextLogprobs(_Answer):
    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]]
    text_offset: list[int]


class _TextChoice(_Answer):
    index: int
    text: str
    logprobs: _TextLogprobs | None
    finish_reason: Literal["stop", "length"]


class CompletionAnswer(_Answer):
    """How texts go on."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[_TextChoice]
    usage: _TextUsage


class _Embedding(_Answer):
    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class EmbeddingAnswer(_Answer):
    """An embedding for each text."""

    object: Literal["list"]
    model: str
    data: list[_Embedding]
    usage: _Usage


class TokenAnswer(_Answer):
    """The tokens of a text."""

    tokens: list[int]
    count: int
    max_model_len: int


class TextAnswer(_Answer):
    """The text of tokens."""

    prompt: str


class ModelCard(_Answer):
    """The model that is served."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    max_model_len: int


class ModelList(_Answer):
    """The models that are served: one."""

    object: Literal["list"]
    data: list[ModelCard]


class HealthAnswer(_Answer):
    """Whether the engine works."""

    status: str


ERRORS: Final[dict[int | str, dict[str, Any]]] = {
    "4XX": {"model": ErrorAnswer, "description": "The request is wrong, nobody's, or one too many."},
    503: {"model": ErrorAnswer, "description": "The engine failed, or the server is ending."},
}
"""What any route may answer in place of what was asked for."""
_STREAM: Final = {"text/event-stream": {"schema": {"type": "string"}}}


def answers(model: type[BaseModel], *, streams: bool = False) -> dict[int | str, dict[str, Any]]:
    """The description of a route that answers so; one that ``streams`` may answer in pieces."""
    return {200: {"model": model, **({"content": _STREAM} if streams else {})}}
