"""Messages in the one form that chat templates read: roles by their known names, contents as text, calls as mappings."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from forge.base.spelling import did_you_mean
from forge.ml.chat.conversation import RowError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["ROLES", "Reader", "tool_list", "unwrapped"]

ROLES: Final[dict[str, tuple[str, ...]]] = {
    "system": ("system", "developer"),
    "user": ("user", "human"),
    "assistant": ("assistant", "gpt", "model", "chatgpt", "bing", "bard", "bot"),
    "tool": ("tool", "observation", "function", "function_response", "ipython"),
    "tool_call": ("function_call", "tool_call"),
}
"""The words that messages use for each role; a ``tool_call`` is an assistant's message whose content is a call."""

_ROLE_KEYS: Final = ("role", "from")
_CONTENT_KEYS: Final = ("content", "value")
_REASONING: Final = ("reasoning_content", "thinking", "reasoning")


class Reader:
    """Reads lists of messages; ``tags`` says which keys and roles they use where those are not the usual ones."""

    def __init__(self, tags: Mapping[str, Any]) -> None:
        tags = dict(tags)
        self.role_keys = _keys(tags.pop("role_key", _ROLE_KEYS))
        self.content_keys = _keys(tags.pop("content_key", _CONTENT_KEYS))
        self.roles = {word: role for role, words in ROLES.items() for word in words}
        for role, words in tags.items():
            own = _keys(words)
            _check_role(role, own)
            self.roles |= dict.fromkeys(own, role)

    def messages(self, found: Any, column: str) -> tuple[list[dict[str, Any]], tuple[bool | None, ...]]:
        """The messages of a cell, and what they say about being learned (nothing at all: an empty tuple).

        They may be JSON text: a csv file has no other way to hold a list.
        """
        found = unwrapped(found)
        if not isinstance(found, (list, tuple)):
            raise RowError(f"column {column} is not a list of messages", f"it is {type(found).__name__}")
        if not found:
            raise RowError("no messages", f"column {column} is empty")
        messages, marks = [], []
        for number, entry in enumerate(found, start=1):
            try:
                message, mark = self._message(entry)
            except RowError as error:
                raise RowError(error.reason, f"message {number}: {error.detail}") from None
            messages.append(message)
            marks.append(mark)
        return messages, tuple(marks) if any(mark is not None for mark in marks) else ()

    def _message(self, entry: Any) -> tuple[dict[str, Any], bool | None]:
        if not isinstance(entry, dict):
            raise RowError("a message is not a mapping", f"it is {type(entry).__name__}")
        rest = {key: value for key, value in entry.items() if value is not None}
        role = self._role(_take(rest, self.role_keys, "role"))
        content = _take(rest, self.content_keys, "content") if role == "tool_call" else self._content(rest)
        if role == "tool_call":
            role, content, rest["tool_calls"] = "assistant", "", content
        elif "function_call" in rest:  # what OpenAI had before tool_calls
            rest.setdefault("tool_calls", rest.pop("function_call"))
        if "tool_calls" in rest:
            rest["tool_calls"] = _tool_calls(rest["tool_calls"])
        message = {"role": role, "content": content}
        mark = _mark(rest, role) if rest else None
        if rest:
            message |= {key: _plain(value) for key, value in rest.items()}
            _name_reasoning(message)
        return message, mark

    def _role(self, word: Any) -> str:
        role = self.roles.get(word) if isinstance(word, str) else None
        if role is None:
            raise RowError(
                "unknown role", f"{word!r} is none of {', '.join(sorted(self.roles))}; say with tags whose it is"
            )
        return role

    def _content(self, rest: dict[str, Any]) -> str:
        calls = rest.get("tool_calls") or rest.get("function_call")
        if calls and not any(key in rest for key in self.content_keys):
            return ""  # a message that only calls tools has nothing else to say
        content = _take(rest, self.content_keys, "content")
        return content if isinstance(content, str) else _joined(content)


def tool_list(found: Any) -> list[dict[str, Any]] | None:
    """The tools of a row as templates read them; they may be JSON text, and bare functions without their wrapping."""
    if found is None or found in ("", []):
        return None
    tools = _parsed(found, "tools") if isinstance(found, str) else found
    if not isinstance(tools, (list, tuple)):
        raise RowError("tools are not a list", f"they are {type(tools).__name__}")
    return [_tool(tool, number) for number, tool in enumerate(tools, start=1)] or None


def unwrapped(found: Any) -> Any:
    """What a cell of JSON text holds; anything else is as it is."""
    if not isinstance(found, str):
        return found
    try:
        return json.loads(found)
    except (ValueError, RecursionError):
        return found


def _plain(value: Any) -> Any:
    """Only texts, numbers, truth values, lists and mappings reach a template; a null in a mapping counts as absent."""
    kind = type(value)
    if kind in (str, int, float, bool) or value is None:
        return value
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items() if item is not None}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    raise RowError("a value that is not plain data", f"a {kind.__name__} among the messages")


def _check_role(role: Any, words: tuple[str, ...]) -> None:
    """ValueError unless templates may know the role: it is one of `ROLES`, or is kept as it is, like ``developer``."""
    if role in ROLES or role in words:
        return
    known = ("role_key", "content_key", *ROLES)
    guess = did_you_mean(str(role), known)
    raise ValueError(
        f"tags has no key {role!r}{f' ({guess})' if guess else ''}; it knows {', '.join(known)}; "
        "a role of another name has this name among its words"
    )


def _keys(found: str | Iterable[str]) -> tuple[str, ...]:
    return (found,) if isinstance(found, str) else tuple(found)


def _take(rest: dict[str, Any], keys: tuple[str, ...], what: str) -> Any:
    for key in keys:
        if key in rest:
            return rest.pop(key)
    raise RowError(
        f"a message without {what}", f"it has {', '.join(map(str, rest)) or 'nothing'}, not {' or '.join(keys)}"
    )


def _joined(content: Any) -> str:
    """The text of a content that is a list of parts."""
    if not isinstance(content, (list, tuple)):
        raise RowError("a content that is not text", f"it is {type(content).__name__}")
    texts = []
    for part in content:
        text = part.get("text") if isinstance(part, dict) and part.get("type", "text") == "text" else part
        if not isinstance(text, str):
            kind = part.get("type", "unknown") if isinstance(part, dict) else type(part).__name__
            raise RowError("a content that is not text", f"a part of it is {kind}")
        texts.append(text)
    return "".join(texts)


def _mark(rest: dict[str, Any], role: str) -> bool | None:
    """What the message says about being learned: ``train`` as true or false, or OpenAI's ``weight`` as 1 or 0."""
    found = [rest.pop(key) for key in ("train", "weight") if key in rest]
    if not found:
        return None
    if len(found) > 1 or found[0] not in (0, 1):
        raise RowError("train or weight is not yes or no", f"it is {', '.join(map(repr, found))}")
    if found[0] is True and role != "assistant":
        raise RowError("only what the assistant says is learned by itself", f"a {role} message has train: true")
    return bool(found[0]) if role == "assistant" else None


def _tool_calls(found: Any) -> list[dict[str, Any]]:
    calls = _parsed(found, "a tool call") if isinstance(found, str) else found
    return [_tool_call(call) for call in (calls if isinstance(calls, (list, tuple)) else [calls])]


def _tool_call(call: Any) -> dict[str, Any]:
    function = call.get("function", call) if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise RowError("a tool call without a name", f"it is {str(call)[:80]}")
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        arguments = _parsed(arguments, "the arguments of a tool call") if arguments.strip() else {}
    given = {**_plain(function), "arguments": _plain(arguments or {})}
    around = {key: _plain(value) for key, value in call.items() if value is not None} if "function" in call else {}
    return {"type": "function", **around, "function": given}


def _tool(tool: Any, number: int) -> dict[str, Any]:
    if not isinstance(tool, dict):
        raise RowError("a tool that is not a mapping", f"tool {number} is {type(tool).__name__}")
    described = _plain(tool)
    return {"type": "function", "function": described} if "name" in described and "type" not in described else described


def _parsed(text: str, what: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise RowError(f"{what} is not JSON" if what != "tools" else "tools are not JSON", str(error)) from None


def _name_reasoning(message: dict[str, Any]) -> None:
    """Templates differ in what they call the reasoning; it gets the names that transformers gives it."""
    found = next((message[key] for key in _REASONING if key in message), None)
    if found is not None:
        message["reasoning_content"] = found
        message.setdefault("thinking", found)
