from __future__ import annotations

import importlib.util
import json
from typing import TYPE_CHECKING

import pytest

from forge.ml.serve import grammar
from forge.ml.serve.engine import RequestRefused
from forge.ml.serve.grammar import Constraint, Grammars, missing_grammars

if TYPE_CHECKING:
    from forge.ml.serve.model_folder import ServedModel

SCHEMA = json.dumps(
    {"type": "object", "properties": {"a": {"enum": ["x"]}}, "required": ["a"], "additionalProperties": False}
)


def test_without_the_library_the_reason_is_told(monkeypatch: pytest.MonkeyPatch, served_model: ServedModel) -> None:
    monkeypatch.setattr(grammar, "find_spec", lambda _name: None)
    assert "pip install" in missing_grammars()
    with pytest.raises(RequestRefused, match="no library"):
        Grammars(served_model.tokenizer, [4], 261).begin(SCHEMA)


@pytest.mark.skipif(importlib.util.find_spec("llguidance") is None, reason="needs the extra serve")
def test_a_text_is_held_to_its_schema(served_model: ServedModel) -> None:
    grammars = Grammars(served_model.tokenizer, served_model.ends, served_model.vocabulary)
    constraint = grammars.begin(SCHEMA)
    said = served_model.tokens('{"a":"x"}')
    for token in said:
        allowed = [number for number in range(261) if constraint.allowed()[number // 8] >> (number % 8) & 1]
        assert token in allowed
        assert len(allowed) < 5
        going = constraint.take(token)
    assert not going or not Constraint(constraint._matcher).take(said[0])


@pytest.mark.skipif(importlib.util.find_spec("llguidance") is None, reason="needs the extra serve")
def test_a_schema_that_cannot_be_used_is_refused(served_model: ServedModel) -> None:
    grammars = Grammars(served_model.tokenizer, served_model.ends, served_model.vocabulary)
    assert missing_grammars() == ""
    for schema in ('{"type": "nosuch"}', '{"$ref": "http://evil/x"}', json.dumps({"a": "x" * 70_000})):
        with pytest.raises(RequestRefused, match="schema"):
            grammars.begin(schema)
