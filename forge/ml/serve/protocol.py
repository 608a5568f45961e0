"""What clients may ask, as OpenAI's API has it: every field with its bounds, so that no client decides how much is done."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

__all__ = [
    "ChatMessage",
    "ChatRequest",
    "CompletionRequest",
    "DetokenizeRequest",
    "EmbeddingRequest",
    "FunctionCall",
    "FunctionTool",
    "GenerationFields",
    "JsonSchema",
    "NamedFunction",
    "ResponseFormat",
    "StreamOptions",
    "TokenizeRequest",
    "ToolCall",
    "ToolChoice",
    "ToolFunction",
]

_MOST_TOKENS = 1 << 20
_TOKEN = Annotated[int, Field(ge=0, lt=1 << 24, strict=True)]
_TEXT = Annotated[str, Field(max_length=2 << 20)]
_NAME = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_.-]+$")]
_STOP = Annotated[str, StringConstraints(min_length=1, max_length=256)]
_IDS = Annotated[list[_TOKEN], Field(min_length=1, max_length=_MOST_TOKENS)]
_BIAS = Annotated[float, Field(ge=-100, le=100, allow_inf_nan=False)]
_Prompt: TypeAlias = (
    _TEXT
    | _IDS
    | Annotated[list[_TEXT], Field(min_length=1, max_length=32)]
    | Annotated[list[_IDS], Field(min_length=1, max_length=32)]
)


class _Known(BaseModel):
    """Fields that are known, and no others: a misspelt one is an error and not silence."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())


class StreamOptions(_Known):
    """How a stream ends: with a last piece that counts tokens, or without."""

    include_usage: bool = False
    include_obfuscation: bool = False


class GenerationFields(_Known):
    """What chats and completions have in common."""

    model: Annotated[str, Field(max_length=1024)] | None = None
    n: Annotated[int, Field(ge=1, le=16)] | None = 1
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    stop: _STOP | Annotated[list[_STOP], Field(max_length=8)] | None = None
    seed: Annotated[int, Field(ge=-(1 << 63), lt=1 << 64)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] | None = None
    top_k: Annotated[int, Field(ge=-1, le=1 << 24)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2, allow_inf_nan=False)] | None = 0
    frequency_penalty: Annotated[float, Field(ge=-2, le=2, allow_inf_nan=False)] | None = 0
    repetition_penalty: Annotated[float, Field(gt=0, le=10, allow_inf_nan=False)] | None = None
    logit_bias: (
        Annotated[
            dict[Annotated[str, StringConstraints(pattern=r"^[0-9]{1,7}$")], _BIAS],
            Field(max_length=1024),
        ]
        | None
    ) = None
    ignore_eos: bool | None = False
    # These change nothing here, and clients send them.
    user: Annotated[str, Field(max_length=512)] | None = None
    metadata: Annotated[dict[str, Any], Field(max_length=16)] | None = None
    store: bool | None = None
    service_tier: Annotated[str, Field(max_length=64)] | None = None
    safety_identifier: Annotated[str, Field(max_length=512)] | None = None
    prompt_cache_key: Annotated[str, Field(max_length=512)] | None = None


class FunctionCall(_Known):
    """The function that a tool call calls; its arguments are the text of a JSON object."""

    name: _NAME
    arguments: _TEXT = ""


class ToolCall(_Known):
    """A call that the assistant made in an earlier turn."""

    id: Annotated[str, Field(max_length=128)] | None = None
    type: Literal["function"] = "function"
    function: FunctionCall
    index: Annotated[int, Field(ge=0, le=128)] | None = None


class _TextPart(_Known):
    type: Literal["text"]
    text: _TEXT


class ChatMessage(_Known):
    """One message of a chat."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: _TEXT | Annotated[list[_TextPart], Field(max_length=256)] | None = None
    name: Annotated[str, Field(max_length=64)] | None = None
    tool_calls: Annotated[list[ToolCall], Field(max_length=128)] | None = None
    tool_call_id: Annotated[str, Field(max_length=128)] | None = None
    refusal: _TEXT | None = None
    reasoning_content: _TEXT | None = None


class ToolFunction(_Known):
    """What a function is called, what it does, and the JSON schema of its arguments."""

    name: _NAME
    description: Annotated[str, Field(max_length=16384)] | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class FunctionTool(_Known):
    """A tool that the assistant may call."""

    type: Literal["function"] = "function"
    function: ToolFunction


class NamedFunction(_Known):
    """The name of a function."""

    name: _NAME


class ToolChoice(_Known):
    """The one function that must be called."""

    type: Literal["function"] = "function"
    function: NamedFunction


class JsonSchema(_Known):
    """A JSON schema that the answer is held to."""

    name: _NAME = "answer"
    description: Annotated[str, Field(max_length=16384)] | None = None
    schema_: Annotated[dict[str, Any], Field(alias="schema")]
    strict: bool | None = None


class ResponseFormat(_Known):
    """The form of an answer: any text, any JSON object, or JSON by a schema."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None

    @model_validator(mode="after")
    def _whole(self) -> ResponseFormat:
        if (self.type == "json_schema") != (self.json_schema is not None):
            raise ValueError("json_schema stands beside the type json_schema, and nowhere else")
        return self


class ChatRequest(GenerationFields):
    """A chat to go on with."""

    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=2048)]
    max_tokens: Annotated[int, Field(ge=1, le=_MOST_TOKENS)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1, le=_MOST_TOKENS)] | None = None
    logprobs: bool | None = False
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    tools: Annotated[list[FunctionTool], Field(max_length=128)] | None = None
    tool_choice: Literal["none", "auto", "required"] | ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    chat_template_kwargs: (
        Annotated[dict[_NAME, bool | int | Annotated[str, Field(max_length=1024)]], Field(max_length=16)] | None
    ) = None
    reasoning_effort: Annotated[str, Field(max_length=32)] | None = None


class CompletionRequest(GenerationFields):
    """Texts to go on with."""

    prompt: _Prompt
    max_tokens: Annotated[int, Field(ge=1, le=_MOST_TOKENS)] | None = 16
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    echo: bool | None = False
    best_of: Annotated[int, Field(ge=1, le=16)] | None = None
    suffix: _TEXT | None = None


class EmbeddingRequest(_Known):
    """Texts to make embeddings of."""

    model: Annotated[str, Field(max_length=1024)] | None = None
    input: _Prompt
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Annotated[int, Field(ge=1, le=1 << 16)] | None = None
    user: Annotated[str, Field(max_length=512)] | None = None


class TokenizeRequest(_Known):
    """A text, or a chat, to see as tokens."""

    model: Annotated[str, Field(max_length=1024)] | None = None
    prompt: _TEXT | None = None
    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=2048)] | None = None
    add_special_tokens: bool = True

    @model_validator(mode="after")
    def _one(self) -> TokenizeRequest:
        if (self.prompt is None) == (self.messages is None):
            raise ValueError("give a prompt or messages, one of them")
        return self


class DetokenizeRequest(_Known):
    """Tokens to see as a text."""

    model: Annotated[str, Field(max_length=1024)] | None = None
    tokens: Annotated[list[_TOKEN], Field(max_length=_MOST_TOKENS)]
