"""``python -m forge.ml.serve``: the process of `forge inf server`."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

from forge.base.errors import ForgeError, ToolError, UsageError
from forge.base.files import read_bounded
from forge.base.parent import end_with_parent

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import uvicorn

    from forge.ml.serve.batcher import Batcher
    from forge.ml.serve.engine import TextEngine
    from forge.ml.serve.following import Follower
    from forge.ml.serve.grammar import Grammars
    from forge.ml.serve.model_folder import ServedModel
    from forge.ml.serve.sources import ServedSource
    from forge.ml.serve.vllm_engine import VllmEngine

__all__ = ["main"]

_LOOPBACK: Final = {"localhost", "127.0.0.1", "::1"}
_OWN: Final = ("follow", "device", "attn_implementation", "pooling")
"""What vLLM decides by itself."""
_LONGEST_KEYS: Final = 64 << 10
_SHORTEST_KEY: Final = 16


def main(arguments: Sequence[str]) -> int:
    """Serve a model until a signal ends it; 0: ended in peace, 2: the user's mistake, 130: before it served."""
    options = _parser().parse_args(arguments)
    try:
        keys = _keys(options)
        return _serve(options, keys)
    except (ForgeError, ValueError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    except KeyboardInterrupt:  # while the model was being loaded
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="forge inf server", allow_abbrev=False)
    parser.add_argument("--model", required=True)
    parser.add_argument("--from-checkpoint", action="store_true")
    parser.add_argument("--follow", type=float)
    parser.add_argument("--adapter")
    parser.add_argument("--host", default="localhost")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--api-key-file")
    parser.add_argument("--served-model-name")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--device")
    parser.add_argument("--attn-implementation")
    parser.add_argument("--chat-template")
    parser.add_argument("--max-model-len", type=int)
    parser.add_argument("--max-num-seqs", type=int, default=32)
    parser.add_argument("--max-waiting", type=int, default=128)
    parser.add_argument("--pooling", choices=("mean", "last"))
    parser.add_argument("--engine", choices=("forge", "vllm"), default="forge")
    return parser


def _keys(options: argparse.Namespace) -> list[str]:
    """The keys of the file, one a line, or of FORGE_API_KEY; needed wherever others than this machine can ask."""
    if options.api_key_file is not None:
        lines = read_bounded(options.api_key_file, _LONGEST_KEYS).decode().splitlines()
        keys = [line.strip() for line in lines if line.strip()]
        if not keys:
            raise UsageError(f"{options.api_key_file} holds no key", hint="write a key into it: one a line")
    else:
        keys = [key for key in [os.environ.get("FORGE_API_KEY", "").strip()] if key]
    if any(len(key) < _SHORTEST_KEY for key in keys):
        raise UsageError(
            f"an API key has {_SHORTEST_KEY} characters at least",
            hint="make one: python -c 'import secrets; print(secrets.token_urlsafe())' > key.txt",
        )
    if not keys and options.host not in _LOOPBACK:
        raise UsageError(
            f"{options.host} can be reached by others, and there is no API key",
            hint="give --api-key-file FILE, or leave --host out to serve this machine alone",
        )
    return keys


def _serve(options: argparse.Namespace, keys: Sequence[str]) -> int:
    if find_spec("uvicorn") is None:
        raise ToolError("the server's libraries are not installed", hint="pip install 'forge[serve]'")
    sockets = _sockets(options.host, options.port)
    try:
        engine, model, follower = _engine(options)
        address = f"http://{options.host}:{sockets[0].getsockname()[1]}"
        said = f"serving {model.name} on {address} - open it in a browser to chat; Ctrl-C ends it"
        with contextlib.closing(engine):
            engine.start()
            server = _announced(_config(engine, model, keys), said)
            if follower is not None:
                follower.start()
            with contextlib.suppress(KeyboardInterrupt):  # of the moment before the server hears of signals
                server.run(sockets=sockets)
        return 0 if server.started else 2
    finally:
        for one in sockets:
            one.close()


def _announced(config: uvicorn.Config, said: str) -> uvicorn.Server:
    """A server that says so when it can be reached. Asked twice to end it waits for nobody, and ends in peace all the same."""
    import uvicorn

    class Announced(uvicorn.Server):
        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            # uvicorn raises them again when it has ended, in the midst of the end of what is around it.
            for one in (signal.SIGINT, signal.SIGTERM):
                signal.signal(one, self.handle_exit)
            yield

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            await super().shutdown(sockets)
            if (
                self.force_exit
            ):  # what uvicorn leaves out then is the app's own end, which would be an error that is told
                await self.lifespan.shutdown()
                logging.getLogger("uvicorn.error").setLevel(
                    logging.CRITICAL
                )  # of answers that are cut off now, as was asked

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                _say(said)

    return Announced(config)


async def _try_template(model: ServedModel) -> None:
    """A template that cannot be used is a mistake now, and not a server that ends while it starts."""
    from forge.ml.serve.rendering import Rendering

    rendering = Rendering(model)
    try:
        await rendering.start()
    finally:
        await rendering.close()


def _config(engine: TextEngine, model: ServedModel, keys: Sequence[str]) -> uvicorn.Config:
    import uvicorn

    from forge.ml.serve.app import build_app
    from forge.ml.serve.guard import GuardRules, key_digests
    from forge.ml.serve.wire import Deadlines, deadline_protocol

    return uvicorn.Config(
        build_app(engine, model, GuardRules(keys=key_digests(keys))),
        http=deadline_protocol(Deadlines()),
        ws="none",
        lifespan="on",
        loop="asyncio",
        access_log=False,
        log_level="warning",
        server_header=False,
        limit_concurrency=4096,
        backlog=4096,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=10,
    )


def _sockets(host: str, port: int) -> list[socket.socket]:
    """The sockets to listen on, held before anything is loaded: a port that is taken shows at once."""
    found: list[socket.socket] = []
    try:
        places = {place[4][0]: place[0] for place in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}
        for address, family in places.items():
            found.append(_bound(family, address, found[0].getsockname()[1] if found else port))
    except OSError as error:
        for one in found:
            one.close()
        raise UsageError(
            f"cannot listen on {host}:{port}: {error.strerror or error}", hint="choose another port with --port"
        ) from error
    return found


def _bound(family: int, address: str, port: int) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind((address, port))
    except OSError:
        made.close()
        raise
    return made


def _engine(options: argparse.Namespace) -> tuple[TextEngine, ServedModel, Follower | None]:
    from forge.ml.serve.model_folder import read_served_model
    from forge.ml.serve.sources import find_source

    if options.engine == "vllm" and (own := [name for name in _OWN if getattr(options, name)]):
        flag = f"--{own[0].replace('_', '-')}"
        raise UsageError(f"{flag} works with forge's own engine", hint=f"leave --engine vllm or {flag} out")
    source = find_source(options.model, checkpoint=options.from_checkpoint, adapter=options.adapter, say=_say)
    model = read_served_model(
        source.weights,
        texts=source.texts,
        name=options.served_model_name or source.name,
        template=options.chat_template,
        longest=options.max_model_len,
    )
    asyncio.run(_try_template(model))
    if options.engine == "vllm":
        return _vllm(options, source, model), model, None
    _say(f"loading {source.weights}: importing torch and transformers")
    engine = _batcher(options, source, model)
    return engine, model, _follower(options, source, engine) if options.follow else None


def _vllm(options: argparse.Namespace, source: ServedSource, model: ServedModel) -> VllmEngine:
    from forge.ml.serve.vllm_engine import VllmEngine, VllmSettings

    settings = VllmSettings(options.dtype, options.max_model_len, options.max_num_seqs, options.max_waiting)
    _say(f"loading {source.weights}: vLLM takes a while")
    return VllmEngine(source, model.longest, settings, _grammars(model))


def _batcher(options: argparse.Namespace, source: ServedSource, model: ServedModel) -> Batcher:
    from forge.ml.serve.batcher import Batcher, BatcherLimits
    from forge.ml.serve.loading import free_tokens

    weights = _weights(options, source.weights, source.adapter)
    limits = BatcherLimits(
        slots=options.max_num_seqs,
        waiting=options.max_waiting,
        longest=model.longest,
        cached=free_tokens(weights),
    )
    return Batcher(weights, limits, grammars=_grammars(model), pooling=options.pooling or model.pooling)


def _grammars(model: ServedModel) -> Grammars:
    from forge.ml.serve.grammar import Grammars

    return Grammars(model.tokenizer, model.ends, model.vocabulary)


def _weights(options: argparse.Namespace, folder: str, adapter: str | None) -> Any:
    from forge.ml.serve.loading import load_served_model, serving_device

    device = serving_device(options.device)
    return load_served_model(
        folder, device, dtype=options.dtype, adapter=adapter, attention=options.attn_implementation or "auto"
    )


def _follower(options: argparse.Namespace, source: ServedSource, engine: Batcher) -> Follower:
    from forge.ml.serve.following import Follower
    from forge.ml.serve.sources import checkpoints_of, find_source

    def take(path: str) -> None:
        found = find_source(path, say=_say)
        engine.replace_model(_weights(options, found.weights, found.adapter)).result()

    return Follower(checkpoints_of(options.model), source.checkpoint, options.follow, take)


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    end_with_parent(signal.SIGTERM)  # a server that nobody can find any more keeps its port and its memory
    code = main(sys.argv[1:])
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    # Taking down what torch has imported takes seconds, and everything that has an end has been ended.
    os._exit(code)
