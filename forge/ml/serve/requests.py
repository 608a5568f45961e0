"""From what a client asks to work for the engine, with what the model's folder proposes where the client says nothing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from forge.ml.serve.engine import RequestRefused, Sampling, Work
from forge.ml.serve.tool_calls import tool_call_schema

if TYPE_CHECKING:
    from collections.abc import Sequence

    from forge.ml.serve.model_folder import ServedModel
    from forge.ml.serve.protocol import ChatRequest, GenerationFields

__all__ = ["chat_messages", "chat_schema", "chat_tools", "stop_strings", "token_lists", "works"]


def stop_strings(asked: GenerationFields) -> tuple[str, ...]:
    """The texts at which an answer ends."""
    return (asked.stop,) if isinstance(asked.stop, str) else tuple(asked.stop or ())


def works(
    asked: GenerationFields,
    model: ServedModel,
    prompts: Sequence[Sequence[int]],
    *,
    longest: int,
    max_tokens: int | None,
    top_logprobs: int | None,
    schema: str | None = None,
) -> list[Work]:
    """The texts that a request asks for: of each prompt as many as it wants."""
    count = asked.n or 1
    if len(prompts) * count > 32:  # noqa: PLR2004 - said below
        raise RequestRefused("a request has 32 texts at most", "n")
    found = []
    for prompt in prompts:
        if not prompt:
            raise RequestRefused("there is nothing to go on from: the prompt has no tokens", "prompt")
        if (high := max(prompt)) >= model.vocabulary:
            raise RequestRefused(f"the model knows no token {high}", "prompt")
        room = longest - len(prompt)
        if room < 1 or (max_tokens or 0) > room:
            raise RequestRefused(
                f"this model takes {longest:,} tokens, and the prompt has {len(prompt):,}"
                + (f" beside the {max_tokens:,} that are asked for" if max_tokens else ""),
                "max_tokens" if max_tokens else "prompt",
            )
        for _ in range(count):
            sampling = _sampling(asked, model, max_tokens or room, top_logprobs, schema, len(found))
            found.append(Work(tuple(prompt), sampling))
    return found


def _sampling(
    asked: GenerationFields, model: ServedModel, most: int, top_logprobs: int | None, schema: str | None, number: int
) -> Sampling:
    def either(name: str, plain: float) -> float:
        given = getattr(asked, name)
        return model.usual.get(name, plain) if given is None else given

    bias = {int(token): value for token, value in (asked.logit_bias or {}).items()}
    if unknown := [token for token in bias if token >= model.vocabulary]:
        raise RequestRefused(f"the model knows no token {unknown[0]}", "logit_bias")
    return Sampling(
        max_tokens=most,
        temperature=either("temperature", 1.0),
        top_p=either("top_p", 1.0),
        top_k=max(int(either("top_k", 0)), 0),
        min_p=either("min_p", 0.0),
        seed=None if asked.seed is None else asked.seed + number,
        presence_penalty=asked.presence_penalty or 0.0,
        frequency_penalty=asked.frequency_penalty or 0.0,
        repetition_penalty=either("repetition_penalty", 1.0),
        logit_bias=bias,
        top_logprobs=top_logprobs,
        stop_tokens=frozenset() if asked.ignore_eos else model.ends,
        schema=schema,
    )


def token_lists(given: Any, model: ServedModel) -> list[list[int]]:
    """One or several texts, as texts or as tokens, as lists of tokens."""
    if isinstance(given, str) or (given and isinstance(given[0], int)):
        given = [given]
    return [model.tokens(one) if isinstance(one, str) else list(one) for one in given]


def chat_messages(asked: Any) -> list[dict[str, Any]]:
    """The messages of a chat as templates read them."""
    return [message.model_dump(exclude_none=True, exclude={"refusal"}) | _content(message) for message in asked]


def _content(message: Any) -> dict[str, Any]:
    content = message.content
    return {"content": content if isinstance(content, str) else "".join(part.text for part in content or [])}


def chat_tools(asked: ChatRequest) -> list[dict[str, Any]]:
    """The tools that the model may call."""
    if not asked.tools or asked.tool_choice == "none":
        return []
    return [tool.model_dump(exclude_none=True) for tool in asked.tools]


def chat_schema(asked: ChatRequest, tools: Sequence[dict[str, Any]]) -> str | None:
    """The JSON schema that an answer is held to, if to any: by its form, or by a tool that must be called."""
    form = asked.response_format
    if asked.tool_choice in (None, "none", "auto"):
        if form is None or form.type == "text":
            return None
        return json.dumps({"type": "object"} if form.json_schema is None else form.json_schema.schema_)
    functions = [tool["function"] for tool in tools]
    if not isinstance(asked.tool_choice, str):
        name = asked.tool_choice.function.name
        functions = [function for function in functions if function["name"] == name]
    if not functions:
        raise RequestRefused("tool_choice asks for a tool that is not among the tools", "tool_choice")
    return json.dumps(tool_call_schema(functions))
