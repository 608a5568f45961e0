"""Calls of tools in what a model says, in the forms that templates teach: between tags, or as bare JSON."""

from __future__ import annotations

import json
import re
import secrets
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

__all__ = ["ToolReader", "tool_call_schema"]

_OPEN: Final = "<tool_call>"
_CALL: Final = re.compile(r"<tool_call>(.*?)(?:</tool_call>|\Z)", re.DOTALL)
_BARE: Final = re.compile(r"\s*(?:\[\s*)?\{")


class ToolReader:
    """Parts a text, while it comes, into what is said and what is called. Of a call nothing is out before it is whole."""

    def __init__(self, names: Collection[str]) -> None:
        self._names = frozenset(names)
        self._held = ""
        self._begun = False
        self._bare = False

    def add(self, text: str) -> str:
        """What of the text so far is certainly said."""
        self._held += text
        if not self._begun:
            if self._held.strip() in {"", "["}:
                return ""
            self._begun, self._bare = True, _BARE.match(self._held) is not None
        if self._bare:
            return ""
        place = self._held.find(_OPEN)
        if place >= 0:
            return self._out(place)
        kept = next((n for n in range(len(_OPEN) - 1, 0, -1) if self._held.endswith(_OPEN[:n])), 0)
        return self._out(len(self._held) - kept)

    def finish(self) -> tuple[str, list[dict[str, Any]]]:
        """The rest that is said, and the calls as OpenAI's API has them. What is no call of a known tool is said."""
        rest, self._held = self._held, ""
        texts = [rest] if self._bare else _CALL.findall(rest)
        calls = [call for text in texts for call in _calls(text, self._names)]
        if not calls:
            return rest, []
        return "", [_as_call(name, arguments, index) for index, (name, arguments) in enumerate(calls)]

    def _out(self, size: int) -> str:
        text, self._held = self._held[:size], self._held[size:]
        return text


def tool_call_schema(functions: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The JSON schema of a call of one of these functions."""
    choices = [
        {
            "type": "object",
            "properties": {
                "name": {"const": function["name"]},
                "arguments": function.get("parameters") or {"type": "object"},
            },
            "required": ["name", "arguments"],
            "additionalProperties": False,
        }
        for function in functions
    ]
    return choices[0] if len(choices) == 1 else {"anyOf": choices}


def _calls(text: str, names: frozenset[str]) -> list[tuple[str, Any]]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return []
    calls = found if isinstance(found, list) else [found]
    read = [_call(call) for call in calls]
    return [call for call in read if call is not None and call[0] in names] if None not in read else []


def _call(found: Any) -> tuple[str, Any] | None:
    """A name and arguments, which some call parameters."""
    if not isinstance(found, dict) or not isinstance(found.get("name"), str):
        return None
    arguments = found.get("arguments", found.get("parameters", {}))
    return (found["name"], arguments) if isinstance(arguments, dict) else None


def _as_call(name: str, arguments: Any, index: int) -> dict[str, Any]:
    text = json.dumps(arguments, ensure_ascii=False)
    return {
        "index": index,
        "id": f"call_{secrets.token_hex(12)}",
        "type": "function",
        "function": {"name": name, "arguments": text},
    }
