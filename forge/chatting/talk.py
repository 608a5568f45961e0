"""A talk with an assistant: what was said, the settings it was said with, and the commands that change either."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from forge.base.errors import UsageError
from forge.base.files import write_atomic
from forge.base.json_file import read_json
from forge.base.spelling import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["COMMANDS", "SETTINGS", "Talk"]

_LARGEST: Final = 16 << 20
SETTINGS: Final[dict[str, type]] = {
    "temperature": float,
    "top_p": float,
    "top_k": int,
    "min_p": float,
    "max_tokens": int,
    "seed": int,
    "stop": str,
    "presence_penalty": float,
    "frequency_penalty": float,
    "repetition_penalty": float,
}
"""What can be set, and what kind of value each takes."""

COMMANDS: Final = {
    "/clear": "forget what was said",
    "/system": "set what the assistant is told first; without a text, show it",
    "/set": "set a value, such as /set temperature 0.2; without a value, back to the server's own",
    "/save": "write the talk to a new file: /save FILE",
    "/save!": "write the talk to a file, over what is in it: /save! FILE",
    "/load": "go on with a talk from a file: /load FILE",
    "/retry": "answer the last message anew",
    "/undo": "take the last message and its answer back",
    "/help": "show this help",
    "/quit": "end (so do quit, exit, q and Ctrl-D)",
}
"""The commands of a talk, and what each does."""


@dataclass(slots=True)
class Talk:
    """Messages and settings."""

    system: str = ""
    said: list[dict[str, str]] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)

    def messages(self) -> list[dict[str, str]]:
        """What the server is sent."""
        return [{"role": "system", "content": self.system}, *self.said] if self.system else list(self.said)

    def ask(self, text: str) -> None:
        """Add what the user says."""
        self.said.append({"role": "user", "content": text})

    def answer(self, text: str) -> None:
        """Add what the assistant said."""
        self.said.append({"role": "assistant", "content": text})

    def undo(self) -> str | None:
        """Take back the last message of the user and what followed; the message."""
        while self.said:
            message = self.said.pop()
            if message["role"] == "user":
                return message["content"]
        return None

    def command(self, line: str) -> str:
        """Do what a command says, and tell the user; UsageError when it cannot be done."""
        word, _, rest = line.strip().partition(" ")
        actions: dict[str, Callable[[str], str]] = {
            "/clear": self._clear,
            "/system": self._system,
            "/set": self._set,
            "/save": self._save,
            "/save!": self._save_over,
            "/load": self._load,
            "/undo": self._undo,
            "/help": self._help,
        }
        if word not in actions:
            raise UsageError(
                f"there is no command {word}", hint=did_you_mean(word, list(COMMANDS)) or "/help shows them"
            )
        return actions[word](rest.strip())

    def change(self, name: str, text: str) -> None:
        """Give a setting a value; UsageError when it has no such value."""
        name = name.replace("-", "_")
        if name not in SETTINGS:
            hint = did_you_mean(name, list(SETTINGS)) or f"there are: {', '.join(SETTINGS)}"
            raise UsageError(f"there is no setting {name}", hint=hint)
        try:
            self.settings[name] = SETTINGS[name](text)
        except ValueError:
            kind = "a whole number" if SETTINGS[name] is int else "a number"
            raise UsageError(f"{name} needs {kind}, not {text!r}") from None

    def _clear(self, _rest: str) -> str:
        self.said.clear()
        return "all is forgotten" + (", but for the system message" if self.system else "")

    def _system(self, rest: str) -> str:
        if rest:
            self.system = "" if rest in {"none", '""'} else rest
            return "the system message is set" if self.system else "there is no system message now"
        return f"system: {self.system}" if self.system else "there is no system message"

    def _set(self, rest: str) -> str:
        name, _, value = rest.partition(" ")
        if value:
            self.change(name, value.strip())
        elif name:
            self.settings.pop(name.replace("-", "_"), None)
        shown = [f"{key} = {value}" for key, value in self.settings.items()]
        return "\n".join(shown) or f"all is as the server has it; there are: {', '.join(SETTINGS)}"

    def _save(self, rest: str) -> str:
        if os.path.lexists(rest):
            raise UsageError(f"{rest} is there already", hint=f"/save! {rest} writes over it")
        return self._save_over(rest)

    def _save_over(self, rest: str) -> str:
        if not rest:
            raise UsageError("/save needs the name of a file", hint="/save talk.json")
        found = {"system": self.system, "messages": self.said, "settings": self.settings}
        write_atomic(rest, json.dumps(found, ensure_ascii=False, indent=2) + "\n", mode=0o600)
        return f"saved to {rest}"

    def _load(self, rest: str) -> str:
        if not rest:
            raise UsageError("/load needs the name of a file", hint="/load talk.json")
        try:
            found = read_json(rest, _LARGEST)
            system, said, settings = (
                str(found["system"]),
                [_message(one) for one in found["messages"]],
                found["settings"],
            )
            fresh = Talk()
            for name, value in settings.items():
                fresh.change(name, str(value))
        except (ValueError, LookupError, TypeError, AttributeError):
            raise UsageError(f"{rest} is no talk that /save wrote") from None
        self.system, self.said, self.settings = system, said, fresh.settings
        return f"{len(said)} messages from {rest}"

    def _undo(self, _rest: str) -> str:
        taken = self.undo()
        return "there is nothing to take back" if taken is None else f"taken back: {taken[:60]}"

    def _help(self, _rest: str) -> str:
        width = max(map(len, COMMANDS))
        lines = [f"{name:<{width}}  {told}" for name, told in COMMANDS.items()]
        return "\n".join([*lines, 'A line that ends with \\ goes on; """ begins and ends a text of many lines.'])


def _message(found: Any) -> dict[str, str]:
    if found["role"] not in {"user", "assistant"}:
        raise ValueError(found["role"])
    return {"role": found["role"], "content": str(found["content"])}
