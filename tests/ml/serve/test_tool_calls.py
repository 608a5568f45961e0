from __future__ import annotations

import json
import time

import jsonschema
import pytest

from forge.ml.serve.tool_calls import ToolReader, tool_call_schema


def _read(text: str, step: int = 1) -> tuple[str, list[tuple[str, object]]]:
    reader = ToolReader(["f", "g"])
    said = "".join(reader.add(text[place : place + step]) for place in range(0, len(text), step))
    rest, calls = reader.finish()
    return said + rest, [(call["function"]["name"], json.loads(call["function"]["arguments"])) for call in calls]


@pytest.mark.parametrize("step", [1, 7, 1000])
@pytest.mark.parametrize(
    ("text", "said", "calls"),
    [
        ("just words", "just words", []),
        ("a <tool b", "a <tool b", []),
        ('<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>', "", [("f", {"a": 1})]),
        ('so: <tool_call>{"name": "f"}</tool_call><tool_call>{"name": "g"}', "so: ", [("f", {}), ("g", {})]),
        ('{"name": "f", "parameters": {"b": [2]}}', "", [("f", {"b": [2]})]),
        (' [{"name": "f", "arguments": {}}, {"name": "g", "arguments": {}}]', "", [("f", {}), ("g", {})]),
        ('{"name": "unknown", "arguments": {}}', '{"name": "unknown", "arguments": {}}', []),
        ('{"answer": 4}', '{"answer": 4}', []),
        ("<tool_call>no JSON</tool_call>", "<tool_call>no JSON</tool_call>", []),
        ('{"name": "f", "arguments": ', '{"name": "f", "arguments": ', []),
        ("", "", []),
        ("  ", "  ", []),
    ],
)
def test_what_is_said_and_what_is_called(text: str, said: str, calls: list[object], step: int) -> None:
    assert _read(text, step) == (said, calls)


def test_calls_are_in_openai_s_form() -> None:
    reader = ToolReader(["f"])
    assert reader.add('<tool_call>{"name": "f", "arguments": {"ü": 1}}</tool_call>') == ""
    _, (call,) = reader.finish()
    assert (call["index"], call["type"], call["function"]["arguments"]) == (0, "function", '{"ü": 1}')
    assert call["id"].startswith("call_")


def test_the_schema_of_a_call_is_that_of_the_functions() -> None:
    number = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    schema = tool_call_schema([{"name": "f", "parameters": number}, {"name": "g"}])
    jsonschema.validate({"name": "f", "arguments": {"a": 1}}, schema)
    jsonschema.validate({"name": "g", "arguments": {}}, schema)
    for wrong in ({"name": "f", "arguments": {}}, {"name": "h", "arguments": {}}, {"name": "g"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema)
    assert tool_call_schema([{"name": "f"}])["properties"]["name"] == {"const": "f"}


def test_a_call_that_never_ends_is_read_in_no_time() -> None:
    reader = ToolReader(["f"])
    text = "<tool_call>" + " \n" * 100_000 + "x"
    began = time.process_time()
    assert reader.add(text) == ""
    assert reader.finish() == (text, [])
    assert time.process_time() - began < 2
