"""The application: its routes, and what becomes of mistakes. The guard stands in front of all of it."""

import asyncio
import base64
import re
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response

from forge import __version__
from forge.ml.serve.chats import Service, answer_chat, answer_completion
from forge.ml.serve.described import (
    ERRORS,
    ChatAnswer,
    CompletionAnswer,
    EmbeddingAnswer,
    HealthAnswer,
    ModelCard,
    ModelList,
    TextAnswer,
    TokenAnswer,
    answers,
)
from forge.ml.serve.engine import EngineBusy, RequestRefused, TextEngine
from forge.ml.serve.generation import EngineFailed, Postbox
from forge.ml.serve.guard import App, Guard, GuardRules, error_body
from forge.ml.serve.model_folder import ServedModel
from forge.ml.serve.page import CONTENT_POLICY, chat_page
from forge.ml.serve.protocol import (
    ChatRequest,
    CompletionRequest,
    DetokenizeRequest,
    EmbeddingRequest,
    TokenizeRequest,
)
from forge.ml.serve.rendering import Rendering
from forge.ml.serve.requests import chat_messages, token_lists
from forge.ml.serve.streaming import ClientGone, until_gone
from forge.ml.serve.traffic import Traffic

__all__ = ["build_app"]

_GONE: Final = 499
_KIND: Final = re.compile(r".*[-\[(].*")
"""What pydantic calls a kind of value, in the way to a field that may be of several."""
_TYPES: Final = {400: "invalid_request_error", 404: "not_found_error", 429: "rate_limit_error"}


def build_app(engine: TextEngine, model: ServedModel, rules: GuardRules) -> App:
    """The whole application, on an engine that its owner has started and ends."""
    traffic = Traffic()
    rendering = Rendering(model)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        postbox = Postbox(asyncio.get_running_loop())
        app.state.service = Service(engine, model, rendering, postbox, traffic)
        await rendering.start()
        try:
            yield
        finally:
            await rendering.close()

    app = FastAPI(
        title="forge",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        responses=ERRORS,
    )
    app.state.traffic = traffic
    _answer_mistakes(app)
    _add_model_routes(app)
    _add_text_routes(app)
    _add_watch_routes(app)
    return Guard(_Counting(app, traffic), rules, traffic.answered)


class _Counting:
    """Counts the answers that the application gives."""

    def __init__(self, app: App, traffic: Traffic) -> None:
        self._app = app
        self._traffic = traffic

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def counted(message: Any) -> None:
            if message["type"] == "http.response.start":
                self._traffic.answered(message["status"])
            await send(message)

        await self._app(scope, receive, counted)


def _service(request: Request) -> Service:
    found: Service = request.app.state.service
    return found


def _add_model_routes(app: FastAPI) -> None:
    @app.post("/v1/chat/completions", responses=answers(ChatAnswer, streams=True))
    async def chat_completions(request: Request, asked: ChatRequest) -> Response:
        return await answer_chat(_service(request), request, asked)

    @app.post("/v1/completions", responses=answers(CompletionAnswer, streams=True))
    async def completions(request: Request, asked: CompletionRequest) -> Response:
        return await answer_completion(_service(request), request, asked)

    @app.post("/v1/embeddings", responses=answers(EmbeddingAnswer))
    async def embeddings(request: Request, asked: EmbeddingRequest) -> Response:
        return await _embeddings(_service(request), request, asked)


def _add_text_routes(app: FastAPI) -> None:
    @app.post("/tokenize", responses=answers(TokenAnswer))
    async def tokenize(request: Request, asked: TokenizeRequest) -> Response:
        service = _service(request)
        service.check_model(asked.model)
        if asked.messages is not None:
            tokens = list(await service.rendering.tokens(chat_messages(asked.messages)))
        else:
            tokens = await asyncio.to_thread(service.model.tokens, asked.prompt or "", special=asked.add_special_tokens)
        return JSONResponse({"tokens": tokens, "count": len(tokens), "max_model_len": service.engine.longest})

    @app.post("/detokenize", responses=answers(TextAnswer))
    async def detokenize(request: Request, asked: DetokenizeRequest) -> Response:
        service = _service(request)
        service.check_model(asked.model)
        if asked.tokens and max(asked.tokens) >= service.model.vocabulary:
            raise RequestRefused(f"the model knows no token {max(asked.tokens)}", "tokens")
        text = await asyncio.to_thread(service.model.tokenizer.decode, asked.tokens, skip_special_tokens=False)
        return JSONResponse({"prompt": text})


def _add_watch_routes(app: FastAPI) -> None:
    @app.get("/v1/models", responses=answers(ModelList))
    async def models(request: Request) -> Response:
        return JSONResponse({"object": "list", "data": [_model_card(_service(request))]})

    @app.get("/v1/models/{name:path}", responses=answers(ModelCard))
    async def one_model(request: Request, name: str) -> Response:
        service = _service(request)
        if name != service.model.name:
            raise HTTPException(404, "there is no such model here")
        return JSONResponse(_model_card(service))

    @app.get("/health", responses={**answers(HealthAnswer), 503: {"model": HealthAnswer}})
    async def health(request: Request) -> Response:
        alive = _service(request).engine.load.alive
        return JSONResponse({"status": "ok" if alive else "the engine failed"}, 200 if alive else 503)

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics(request: Request) -> Response:
        service = _service(request)
        return PlainTextResponse(service.traffic.text(service.engine.load))

    @app.get("/", include_in_schema=False)
    async def front_page() -> Response:
        return HTMLResponse(chat_page(), headers={"content-security-policy": CONTENT_POLICY})


def _model_card(service: Service) -> dict[str, Any]:
    return {
        "id": service.model.name,
        "object": "model",
        "created": 0,
        "owned_by": "forge",
        "max_model_len": service.engine.longest,
    }


async def _embeddings(service: Service, request: Request, asked: EmbeddingRequest) -> Response:
    service.check_model(asked.model)
    if asked.dimensions is not None:
        raise RequestRefused("the embeddings of this model have one size: leave dimensions out", "dimensions")
    prompts = await asyncio.to_thread(token_lists, asked.input, service.model)
    if not all(prompts) or max(map(max, prompts)) >= service.model.vocabulary:
        raise RequestRefused("there is a text without tokens, or a token that the model does not know", "input")
    vectors = await until_gone(request, _wrapped(service.engine.embed(prompts)))
    data = [
        {"object": "embedding", "index": index, "embedding": _encoded(vector, asked.encoding_format)}
        for index, vector in enumerate(vectors)
    ]
    count = sum(map(len, prompts))
    usage = {"prompt_tokens": count, "total_tokens": count}
    return JSONResponse({"object": "list", "model": service.model.name, "data": data, "usage": usage})


async def _wrapped(future: Any) -> Any:
    return await asyncio.wrap_future(future)


def _encoded(vector: list[float], form: str) -> list[float] | str:
    if form == "float":
        return vector
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def _answer_mistakes(app: FastAPI) -> None:
    @app.exception_handler(RequestValidationError)
    async def invalid(_request: Request, error: RequestValidationError) -> Response:
        message, param = _first_mistake(error)
        return _error(400, message, param)

    @app.exception_handler(RequestRefused)
    async def refused(_request: Request, error: RequestRefused) -> Response:
        return _error(400, str(error), error.param)

    @app.exception_handler(EngineBusy)
    async def busy(_request: Request, error: EngineBusy) -> Response:
        answer = _error(503 if error.stopping else 429, str(error))
        answer.headers["retry-after"] = str(error.later)
        return answer

    @app.exception_handler(EngineFailed)
    async def failed(_request: Request, _failure: EngineFailed) -> Response:
        return _error(503, "the engine failed")

    @app.exception_handler(ClientGone)
    async def gone(_request: Request, _failure: ClientGone) -> Response:
        return Response(status_code=_GONE)

    @app.exception_handler(HTTPException)
    async def plain(_request: Request, error: HTTPException) -> Response:
        answer = _error(error.status_code, str(error.detail))
        answer.headers.update(error.headers or {})
        return answer


def _error(status: int, message: str, param: str | None = None) -> Response:
    kind = _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")  # noqa: PLR2004
    return Response(error_body(message, kind, param=param), status, media_type="application/json")


def _first_mistake(error: RequestValidationError) -> tuple[str, str | None]:
    """What is wrong, and where; nothing of what the client sent."""
    # Where a field may be several things, the one that is of the right kind was meant, and else the one that fits furthest.
    first = max(error.errors(), key=lambda one: (not one["type"].endswith("_type"), len(one["loc"])))
    if first["type"] == "json_invalid":
        return f"the body is no JSON: {first['ctx']['error']} (character {first['loc'][-1]})", None
    *way, last = (str(step)[:64] for step in first["loc"])
    unknown = first["type"] == "extra_forbidden"  # and has any name
    steps = [step for step in way if not _KIND.match(step)] + [last] * (unknown or not _KIND.match(last))
    place = ".".join(steps[1:])[:200]
    said = first["msg"].removeprefix("Value error, ")
    return f"{place}: {said}" if place else said, place or None
