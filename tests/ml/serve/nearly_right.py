"""Requests that are nearly right, made from the server's own description."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import random

ODD = [
    None,
    True,
    -1,
    0,
    1,
    2**31,
    2**63,
    2**200,
    0.5,
    -0.0,
    1e308,
    "",
    "a",
    "ü🙂\x00",
    "\x00",
    "<|im_end|>",
    "x" * 3000,
    [],
]
ODD += [{}, [[]], [None], {"": None}, [0], [300], [2**40], {"type": "text"}, {"a": {"b": [1]}}, ["a", 1], "\x7f\x1b[2J"]
RAW = [
    b"",
    b"{",
    b"nul",
    b"[" * 50,
    b'{"a":' * 40,
    b"\xff\xfe",
    b'"\\ud800"',
    b"NaN",
    b"1e9999",
    b'{"prompt":NaN}',
    b"{}{}",
]
FIRST = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 2},
    "/v1/completions": {"prompt": "hi", "max_tokens": 2},
    "/v1/embeddings": {"input": "hi"},
    "/tokenize": {"prompt": "hi"},
    "/detokenize": {"tokens": [70, 71]},
}


def _example(schema: dict[str, Any], known: dict[str, Any], chance: random.Random, depth: int = 0) -> Any:
    """A value by a schema, or beside it."""
    if chance.random() < 0.12 or depth > 5:
        return chance.choice(ODD)
    if "$ref" in schema:
        return _example(known[schema["$ref"].rpartition("/")[2]], known, chance, depth + 1)
    if "anyOf" in schema:
        return _example(chance.choice(schema["anyOf"]), known, chance, depth + 1)
    for key in ("enum", "const"):
        if key in schema:
            return chance.choice(schema[key]) if key == "enum" else schema[key]
    kind = schema.get("type")
    if kind == "object":
        names = [
            name for name in schema.get("properties", {}) if chance.random() < 0.3 or name in schema.get("required", [])
        ]
        return {name: _example(schema["properties"][name], known, chance, depth + 1) for name in names}
    if kind == "array":
        return [_example(schema.get("items", {}), known, chance, depth + 1) for _ in range(chance.randrange(3))]
    if kind in ("integer", "number"):
        return chance.choice([schema.get("minimum", 0), schema.get("maximum", 9), 1, chance.uniform(-3, 3)][::1])
    if kind == "boolean":
        return chance.random() < 0.5
    return chance.choice(["a", "hi there", "small", "é", *(option for option in ODD if isinstance(option, str))])


def body_for(path: str, described: dict[str, Any], chance: random.Random) -> bytes:
    """The body of a request for this route."""
    if chance.random() < 0.1:
        return chance.choice(RAW)
    known = described["components"]["schemas"]
    schema = described["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
    found = _example(schema, known, chance)
    if isinstance(found, dict):
        found = {**FIRST[path], **found}
        if isinstance(found.get("max_tokens"), int | float) and not isinstance(found["max_tokens"], bool):
            found["max_tokens"] = min(found["max_tokens"], 8)
        found.pop("max_completion_tokens", None)
    content = json.dumps(found).encode()
    if chance.random() < 0.1:
        place = chance.randrange(len(content) + 1)
        content = content[:place] + bytes([chance.randrange(256)]) + content[place + 1 :]
    return content
