"""The loop of an interactive talk: reads what is typed, shows what comes, and lets Ctrl-C end an answer."""

from __future__ import annotations

import sys
from contextlib import closing
from typing import TYPE_CHECKING, Final

from forge.base.errors import ForgeError
from forge.chatting.talk import COMMANDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from forge.chatting.chat_server import ChatServer
    from forge.chatting.talk import Talk

__all__ = ["Typed", "interact", "say_harmlessly", "typed_lines"]

_END: Final = {"quit", "exit", "q", "/quit", "/exit"}
_BLOCK: Final = '"""'
_KEPT: Final = {"\n", "\t"}


class Typed:
    """Joins typed lines to messages: one that ends with a backslash goes on, and three quotes hold many lines together."""

    def __init__(self, read: Callable[[str], str]) -> None:
        self._read = read

    def message(self) -> str:
        """The next message; EOFError at the end."""
        line = self._read("> ")
        if line.strip().startswith(_BLOCK):
            return self._block(line.strip().removeprefix(_BLOCK))
        while line.endswith("\\"):
            line = line[:-1] + "\n" + self._read(". ")
        return line.strip()

    def _block(self, first: str) -> str:
        lines = [first]
        while not lines[-1].rstrip().endswith(_BLOCK):
            lines.append(self._read(". "))
        lines[-1] = lines[-1].rstrip().removesuffix(_BLOCK)
        return "\n".join(lines).strip("\n")


def interact(server: ChatServer, model: str, talk: Talk, typed: Typed, say: Callable[[str], None]) -> None:
    """Talk until the user ends it. A mistake or a server that does not answer is told, and the talk goes on."""
    say(f"Chatting with {model} at {server.url}. /help shows the commands; quit ends it.\n\n")
    while True:
        try:
            message = typed.message()
        except EOFError:
            say("\n")
            return
        except KeyboardInterrupt:
            continue
        if message in _END:
            return
        try:
            _react(server, model, talk, message, say)
        except ForgeError as error:
            say(f"{error}\n\n")


def _react(server: ChatServer, model: str, talk: Talk, message: str, say: Callable[[str], None]) -> None:
    if message == "/retry":
        message = talk.undo() or ""
    elif message.startswith("/") and message.partition(" ")[0] in COMMANDS:
        say(talk.command(message) + "\n\n")
        return
    elif message.startswith("/") and "\n" not in message and "/" not in message[1:].partition(" ")[0]:
        talk.command(message)  # a misspelt command is a mistake; a path is a message
    if not message:
        return
    talk.ask(message)
    try:
        said = _spoken(server.chat(model, talk.messages(), talk.settings), say)
    except BaseException:
        talk.undo()
        raise
    talk.answer(said)
    say("\n\n")


def _spoken(pieces: Iterable[str], say: Callable[[str], None]) -> str:
    """Show what is said while it comes; after Ctrl-C, what was said so far is the answer."""
    said: list[str] = []
    with closing(pieces) as rest:  # type: ignore[type-var]
        try:
            for piece in rest:
                said.append(piece)
                say(piece)
        except KeyboardInterrupt:
            say(" (ended)")
    return "".join(said)


def say_harmlessly(text: str) -> None:
    """Write to the terminal at once, without the characters by which a text would command it."""
    sys.stdout.write("".join(one for one in text if one in _KEPT or one.isprintable()))
    sys.stdout.flush()


def typed_lines() -> Typed:
    """What is typed on the terminal, with history and editing; what comes from a pipe, line by line."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return Typed(_piped)
    from prompt_toolkit import PromptSession
    from prompt_toolkit.completion import WordCompleter

    from forge.chatting.said_before import SaidBefore

    commands = WordCompleter(list(COMMANDS), sentence=True)
    session: PromptSession[str] = PromptSession(history=SaidBefore(), completer=commands, complete_while_typing=False)
    return Typed(session.prompt)


def _piped(_prompt: str) -> str:
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line.rstrip("\n")
