"""Chats and completions: what is asked becomes work, and what the engine says becomes an answer, at once or in pieces."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from forge.ml.serve.answers import AnswerHead, chat_logprobs, completion_logprobs, token_counts
from forge.ml.serve.engine import EngineBusy, RequestRefused
from forge.ml.serve.generation import EngineFailed, Generation
from forge.ml.serve.guard import error_body
from forge.ml.serve.requests import chat_messages, chat_schema, chat_tools, stop_strings, token_lists, works
from forge.ml.serve.streaming import ClientGone, EventStream, until_gone
from forge.ml.serve.tool_calls import ToolReader

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from starlette.requests import Request

    from forge.ml.serve.engine import TextEngine, Work
    from forge.ml.serve.generation import Postbox, TextPiece
    from forge.ml.serve.model_folder import ServedModel
    from forge.ml.serve.protocol import ChatRequest, CompletionRequest, GenerationFields
    from forge.ml.serve.rendering import Rendering
    from forge.ml.serve.traffic import Traffic

__all__ = ["Service", "answer_chat", "answer_completion"]

_DONE = b"data: [DONE]\n\n"


@dataclass(slots=True)
class Service:
    """What answers are made with."""

    engine: TextEngine
    model: ServedModel
    rendering: Rendering
    postbox: Postbox
    traffic: Traffic

    def check_model(self, name: str | None) -> None:
        """Refuse a model that is not served here."""
        if name not in (None, "", "default", self.model.name):
            raise HTTPException(404, f"there is no model {name[:64]!r} here, but {self.model.name!r}")


class _Form(Protocol):
    """How texts become the choices of one kind of answer."""

    head: AnswerHead

    def begin(self) -> list[dict[str, Any]]: ...

    def part(self, piece: TextPiece) -> list[dict[str, Any]]: ...

    def whole(self, piece: TextPiece) -> dict[str, Any]: ...


async def answer_chat(service: Service, request: Request, asked: ChatRequest) -> Response:
    """Answer a chat."""
    service.check_model(asked.model)
    tools = chat_tools(asked)
    schema = chat_schema(asked, tools)
    if schema is not None and service.engine.constrains:
        raise RequestRefused(service.engine.constrains, "response_format" if asked.response_format else "tool_choice")
    prompt = await until_gone(
        request, service.rendering.tokens(chat_messages(asked.messages), tools or None, asked.chat_template_kwargs)
    )
    wanted = works(
        asked,
        service.model,
        [prompt],
        longest=service.engine.longest,
        max_tokens=asked.max_completion_tokens or asked.max_tokens,
        top_logprobs=(asked.top_logprobs or 0) if asked.logprobs or asked.top_logprobs else None,
        schema=schema,
    )
    return await _answer(service, request, asked, wanted, _ChatForm(service, asked, len(wanted), tools))


async def answer_completion(service: Service, request: Request, asked: CompletionRequest) -> Response:
    """Answer a completion."""
    service.check_model(asked.model)
    if asked.suffix:
        raise RequestRefused("this server writes behind a prompt, not between two texts", "suffix")
    if asked.best_of not in (None, asked.n or 1):
        raise RequestRefused("best_of is n here: no more texts are made than are returned", "best_of")
    if asked.echo and asked.logprobs is not None:
        raise RequestRefused("echo cannot stand beside logprobs here: those of the prompt are not known", "echo")
    prompts = await asyncio.to_thread(token_lists, asked.prompt, service.model)  # a long text takes a second
    wanted = works(
        asked,
        service.model,
        prompts,
        longest=service.engine.longest,
        max_tokens=asked.max_tokens,
        top_logprobs=asked.logprobs,
    )
    return await _answer(service, request, asked, wanted, _CompletionForm(service, asked, prompts))


async def _answer(
    service: Service, request: Request, asked: GenerationFields, wanted: Sequence[Work], form: _Form
) -> Response:
    begun = time.monotonic()
    generation = await until_gone(
        request,
        Generation.begin(service.engine, service.postbox, service.model.tokenizer, wanted, stop_strings(asked)),
    )
    if asked.stream:
        told = _Told(service, wanted, asked.n or 1, begun)
        usage = asked.stream_options is not None and asked.stream_options.include_usage
        return EventStream(
            _events(generation, form, told, usage=usage),
            closed=lambda whole: _closed(service, generation, gone=not whole),
        )
    try:
        pieces = await until_gone(request, generation.whole())
    except ClientGone:
        service.traffic.gone += 1
        raise
    finally:
        generation.close()
    told = _Told(service, wanted, asked.n or 1, begun)
    told.note(pieces)
    return JSONResponse(form.head([form.whole(piece) for piece in pieces], told.finish()))


def _closed(service: Service, generation: Generation, *, gone: bool) -> None:
    generation.close()
    service.traffic.gone += gone


class _Told:
    """Counts what a request got."""

    def __init__(self, service: Service, wanted: Sequence[Work], count: int, begun: float) -> None:
        self._traffic = service.traffic
        self._prompt = sum(len(work.prompt) for work in wanted[::count])
        self._begun = begun
        self._generated = 0

    def note(self, pieces: Sequence[TextPiece]) -> None:
        if not self._generated:
            self._traffic.first_token(time.monotonic() - self._begun)
        self._generated += sum(len(piece.tokens) for piece in pieces)

    def finish(self) -> dict[str, Any]:
        self._traffic.finished(time.monotonic() - self._begun, self._prompt, self._generated)
        return token_counts(self._prompt, self._generated)


async def _events(generation: Generation, form: _Form, told: _Told, *, usage: bool) -> AsyncIterator[bytes]:
    for choice in form.begin():
        yield _event(form.head([choice]))
    try:
        async for pieces in generation.pieces():
            told.note(pieces)
            events = [_event(form.head([choice])) for piece in pieces for choice in form.part(piece)]
            if events:
                yield b"".join(events)
    except (EngineFailed, EngineBusy):
        yield b"data: " + error_body("the engine could not finish the text", "server_error") + b"\n\n"
        return
    counts = told.finish()
    if usage:
        yield _event(form.head([], counts))
    yield _DONE


def _event(found: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(found, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"


class _ChatForm:
    def __init__(self, service: Service, asked: ChatRequest, count: int, tools: Sequence[dict[str, Any]]) -> None:
        kind = "chat.completion.chunk" if asked.stream else "chat.completion"
        self.head = AnswerHead(kind, service.model.name, "chatcmpl")
        self._tokenizer = service.model.tokenizer
        self._count = count
        self._logprobs = bool(asked.logprobs or asked.top_logprobs)
        names = [tool["function"]["name"] for tool in tools]
        self._tools = [ToolReader(names) for _ in range(count)] if names else None

    def begin(self) -> list[dict[str, Any]]:
        return [_choice(index, {"role": "assistant", "content": ""}) for index in range(self._count)]

    def part(self, piece: TextPiece) -> list[dict[str, Any]]:
        text, calls = self._said(piece)
        choices = []
        if text or (self._logprobs and piece.tokens):
            choices.append(_choice(piece.index, {"content": text}))
            if self._logprobs:
                choices[-1]["logprobs"] = chat_logprobs(self._tokenizer, piece.tokens)
        if calls:
            choices.append(_choice(piece.index, {"tool_calls": calls}))
        if piece.finish is not None:
            choices.append(_choice(piece.index, {}, _reason(piece, calls)))
        return choices

    def whole(self, piece: TextPiece) -> dict[str, Any]:
        text, calls = self._said(piece)
        message: dict[str, Any] = {"role": "assistant", "content": text if text or not calls else None}
        if calls:
            message["tool_calls"] = [{key: call[key] for key in call if key != "index"} for call in calls]
        logprobs = chat_logprobs(self._tokenizer, piece.tokens) if self._logprobs else None
        reason = _reason(piece, calls)
        return {"index": piece.index, "message": message, "logprobs": logprobs, "finish_reason": reason}

    def _said(self, piece: TextPiece) -> tuple[str, list[dict[str, Any]]]:
        if self._tools is None:
            return piece.text, []
        reader = self._tools[piece.index]
        text = reader.add(piece.text)
        if piece.finish is None:
            return text, []
        rest, calls = reader.finish()
        return text + rest, calls


def _reason(piece: TextPiece, calls: Sequence[Any]) -> str | None:
    return "tool_calls" if calls else piece.finish


def _choice(index: int, delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    return {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}


class _CompletionForm:
    def __init__(self, service: Service, asked: CompletionRequest, prompts: Sequence[Sequence[int]]) -> None:
        self.head = AnswerHead("text_completion", service.model.name, "cmpl")
        self._tokenizer = service.model.tokenizer
        self._logprobs = asked.logprobs is not None
        self._offsets: dict[int, int] = {}
        self._echoes = self._echo(asked, prompts)

    def _echo(self, asked: CompletionRequest, prompts: Sequence[Sequence[int]]) -> list[str]:
        if not asked.echo:
            return []
        given = asked.prompt if isinstance(asked.prompt, list) and isinstance(asked.prompt[0], str) else [asked.prompt]
        pairs = zip(given if len(given) == len(prompts) else prompts, prompts, strict=True)
        texts = [one if isinstance(one, str) else self._tokenizer.decode(list(tokens)) for one, tokens in pairs]
        return [text for text in texts for _ in range(asked.n or 1)]

    def begin(self) -> list[dict[str, Any]]:
        return [self._made(index, text, None, None) for index, text in enumerate(self._echoes)]

    def part(self, piece: TextPiece) -> list[dict[str, Any]]:
        if not (piece.text or piece.finish or (self._logprobs and piece.tokens)):
            return []
        return [self._made(piece.index, piece.text, self._likelihoods(piece), piece.finish)]

    def whole(self, piece: TextPiece) -> dict[str, Any]:
        echo = self._echoes[piece.index] if self._echoes else ""
        return self._made(piece.index, echo + piece.text, self._likelihoods(piece), piece.finish)

    def _likelihoods(self, piece: TextPiece) -> dict[str, Any] | None:
        if not self._logprobs:
            return None
        offset = self._offsets.get(piece.index, 0)
        self._offsets[piece.index] = offset + len(piece.text)
        return completion_logprobs(self._tokenizer, piece.tokens, offset)

    def _made(self, index: int, text: str, logprobs: dict[str, Any] | None, finish: str | None) -> dict[str, Any]:
        return {"index": index, "text": text, "logprobs": logprobs, "finish_reason": finish}
