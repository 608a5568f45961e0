from __future__ import annotations

from forge.graph.static.signature import Parameter, Signature
from forge.render.schema.calls import call_name, call_schema, is_closed, keyword_parameters, parameter_rules


def signature(target: str, *parameters: Parameter, loose: bool = False) -> Signature:
    return Signature(target, parameters, False, loose, "What it does.", "x.py", 1, True)


LR = Parameter("lr", "positional_or_keyword", False, "float", "0.1")
ONLY_BY_PLACE = Parameter("params", "positional_only", True)


def test_an_argument_that_is_no_parameter_is_refused_unless_any_is_taken() -> None:
    closed, loose = signature("a.A", LR, ONLY_BY_PLACE), signature("b.B", LR, loose=True)
    assert (is_closed(closed), is_closed(loose)) == (True, False)
    found = call_schema(closed)
    assert found["additionalProperties"] is False
    assert "params" not in found["properties"]
    assert {"lr", "_partial_", "defaults"} <= set(found["properties"])
    assert found["description"] == "What it does."
    assert "additionalProperties" not in call_schema(loose)
    assert [one.name for one in keyword_parameters(closed)] == ["lr"]
    assert call_name("a.A") == "call.a.A"


def test_of_several_targets_any_may_be_meant() -> None:
    text = LR._replace(annotation="str", default=None)
    rules = parameter_rules([signature("a.A", LR), signature("b.B", text)])
    assert len(rules["lr"]["anyOf"]) == 2
    assert rules["lr"]["description"] == "lr: float = 0.1  (A)\nlr: str  (B)"
    rules = parameter_rules([signature("a.A", LR), signature("b.B", loose=True)])
    assert set(rules["lr"]) == {"description"}, "B may take any lr"
