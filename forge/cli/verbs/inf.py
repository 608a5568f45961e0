"""``forge inf``: serve a model, and talk with one that is served."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from forge.base.errors import UsageError
from forge.cli.options import Option, Positional, was_given
from forge.cli.registry import Verb

if TYPE_CHECKING:
    from forge.chatting.chat_server import ChatServer
    from forge.chatting.talk import Talk
    from forge.cli.session import Context

__all__ = ["VERB"]

_ACTIONS = ("server", "client")
_URL = "http://localhost:8000/v1"
_LONGEST_KEYS: Final = 64 << 10
_BOTH: Final = (
    Option(
        ("-m", "--model"), "server: the folder of a model; client: a name the server knows", "MODEL", completes="folder"
    ),
    Option(
        ("--api-key-file",),
        "a file with API keys, one a line; else the variable FORGE_API_KEY",
        "FILE",
        completes="file",
    ),
)
_SERVER: Final = (
    Option(("-c", "--from-checkpoint"), "serve the newest valid checkpoint in the model's folder"),
    Option(("--follow",), "with -c: look for a newer checkpoint every so many seconds", "SECONDS", type=float),
    Option(("--adapter",), "put this adapter on the model", "FOLDER", completes="folder"),
    Option(("--host",), "listen on this address; other than this machine's own only with a key", "HOST"),
    Option(("--port",), "listen on this port; 8000 by default, 0 for any that is free", "N", type=int),
    Option(("--served-model-name",), "what clients call the model; its folder's name by default", "NAME"),
    Option(("--dtype",), "compute in this type", "TYPE", choices=("auto", "float32", "bfloat16", "float16")),
    Option(("--device",), "compute on this device, such as cuda:1 or cpu", "DEVICE"),
    Option(("--attn-implementation",), "attend by this implementation of transformers", "NAME"),
    Option(("--chat-template",), "write chats by this template: a name or a file", "TEMPLATE", completes="file"),
    Option(("--max-model-len",), "tokens of a prompt and its text together; the model's own by default", "N", type=int),
    Option(("--max-num-seqs",), "generate so many texts at a time; 32 by default", "N", type=int),
    Option(("--max-waiting",), "let so many requests wait before one is refused; 128 by default", "N", type=int),
    Option(("--pooling",), "make embeddings this way", "HOW", choices=("mean", "last")),
    Option(("--engine",), "generate with this", "ENGINE", choices=("forge", "vllm")),
)
_CLIENT: Final = (
    Option(("--url",), f"the server's API; {_URL} by default", "URL"),
    Option(("--message",), "say this, print the answer and end", "TEXT"),
    Option(("--completion",), "go on with this text, print it and end", "TEXT"),
    Option(("--system",), "tell the assistant this first", "TEXT"),
    Option(("--stream",), "print while it comes (in a talk it always does)"),
    Option(("--max-tokens",), "at most so many tokens", "N", type=int),
    Option(("--temperature",), "how far from the likeliest", "X", type=float),
    Option(("--top-p",), "choose among the likeliest that have this probability together", "X", type=float),
    Option(("--top-k",), "choose among so many of the likeliest", "N", type=int),
    Option(("--seed",), "repeat by this number", "N", type=int),
    Option(("--stop",), "end where this text would come", "TEXT"),
    Option(("--list-models",), "print what the server serves and end"),
)
_BOUNDS: Final = {
    "follow": (1, 86_400),
    "port": (0, 65_535),
    "max_model_len": (1, 1 << 30),
    "max_num_seqs": (1, 1 << 16),
    "max_waiting": (1, 1 << 20),
}
"""The least and the most that a number may be; one that is far outside is a slip of the hand."""
_SETTINGS: Final = ("max_tokens", "temperature", "top_p", "top_k", "seed", "stop")


def _run(context: Context) -> int:
    action = context.words[0]
    others = _CLIENT if action == "server" else _SERVER
    given = [option for option in others if was_given(getattr(context.options, option.name))]
    if given:
        other = "client" if action == "server" else "server"
        raise UsageError(f"inf {action} has no flag {given[0].names[-1]!r}", hint=f"it is one of forge inf {other}")
    return _serve(context) if action == "server" else _talk(context)


def _serve(context: Context) -> int:
    from forge.launch.process import run_module  # `forge --help` starts nothing

    options = context.options
    if options.model is None:
        raise UsageError("inf server needs a model", hint="forge inf server -m MODEL_FOLDER")
    if not os.path.isdir(options.model):
        raise UsageError(
            f"there is no folder {options.model!r}", hint="name a model's folder: forge inf server -m FOLDER"
        )
    if options.follow is not None and not options.from_checkpoint:
        raise UsageError("--follow is for checkpoints", hint="write -c beside it")
    _check_numbers(options)
    context.output.flush()
    return run_module("forge.ml.serve", _server_words(options))


def _check_numbers(options: Any) -> None:
    for name, (least, most) in _BOUNDS.items():
        value = getattr(options, name)
        if value is not None and not least <= value <= most:
            raise UsageError(f"--{name.replace('_', '-')} is a number from {least} to {most}, not {value}")


def _server_words(options: Any) -> list[str]:
    words: list[str] = []
    for option in (*_BOTH, *_SERVER):
        value = getattr(options, option.name)
        if value is True:
            words.append(f"--{option.name.replace('_', '-')}")
        elif was_given(value):
            words.append(f"--{option.name.replace('_', '-')}={value}")
    return words


def _talk(context: Context) -> int:
    from forge.chatting.chat_server import ChatServer  # as in _serve
    from forge.chatting.loop import interact, say_harmlessly, typed_lines

    options = context.options
    if options.message is not None and options.completion is not None:
        raise UsageError("--message and --completion are two questions", hint="ask them one after another")
    server = ChatServer(options.url or _URL, _key(options.api_key_file))
    if options.list_models:
        context.output.write("\n".join(server.models()))
        return 0
    model = options.model or _only_model(server)
    talk = _begun(options)
    if options.message is None and options.completion is None:
        interact(server, model, talk, typed_lines(), say_harmlessly)
        return 0
    _ask_once(context, server, model, talk)
    return 0


def _begun(options: Any) -> Talk:
    from forge.chatting.talk import Talk

    settings = {name: getattr(options, name) for name in _SETTINGS if getattr(options, name) is not None}
    return Talk(system=options.system or "", settings=settings)


def _ask_once(context: Context, server: ChatServer, model: str, talk: Talk) -> None:
    from forge.chatting.loop import say_harmlessly

    options = context.options
    if options.completion is not None:
        start, pieces = options.completion, server.complete(model, options.completion, talk.settings)
    else:
        talk.ask(options.message)
        start, pieces = "", server.chat(model, talk.messages(), talk.settings)
    if not options.stream:
        context.output.write(start + "".join(pieces))
        return
    say_harmlessly(start)
    for piece in pieces:
        say_harmlessly(piece)
    say_harmlessly("\n")


def _only_model(server: ChatServer) -> str:
    models = server.models()
    if len(models) != 1:
        shown = ", ".join(models[:10]) or "none"
        raise UsageError(f"the server has {len(models)} models: {shown}", hint="name one with --model")
    return models[0]


def _key(path: str | None) -> str | None:
    from forge.base.files import read_bounded

    if path is None:
        return os.environ.get("FORGE_API_KEY", "").strip() or None
    lines = read_bounded(path, _LONGEST_KEYS).decode(errors="replace").split()
    if not lines:
        raise UsageError(f"{path} holds no key", hint="write the server's key into it")
    return lines[0]


VERB = Verb(
    name="inf",
    summary="serve a model, and talk with one that is served",
    help="""\
server: serve a model for every client of OpenAI's API (chats, completions, embeddings), and as a page for a browser. It
generates many texts at a time. With -c it serves the newest checkpoint in the model's folder of which every byte is right.
It answers this machine alone, unless it is given --host and --api-key-file.

client: talk with a served model; --message and --completion ask one thing, print the answer and end. It speaks with any
server that has OpenAI's API.

  forge inf server -m MODEL_FOLDER
  forge inf server -c -m OUTPUT_FOLDER --chat-template chatml
  forge inf server -m MODEL_FOLDER --host 0.0.0.0 --api-key-file key.txt
  forge inf client
  forge inf client --message "Hello, what is your name?"
  forge inf client --completion "Once upon a time" --max-tokens 50
""",
    run=_run,
    options=(
        *_BOTH,
        *(replace(option, heading="flags of the server") for option in _SERVER),
        *(replace(option, heading="flags of the client") for option in _CLIENT),
    ),
    positionals=(Positional("ACTION", "server or client", choices=_ACTIONS),),
)
