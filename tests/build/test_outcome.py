from __future__ import annotations

from forge.base.secrets import Secret
from forge.build.outcome import built_text, describe_built, failure_text, secret_texts
from forge.graph.node import Call, Const, Edge


class Weight:
    def numel(self) -> int:
        return 1500


class Model:
    def state_dict(self) -> dict[str, int]:
        return {}

    def parameters(self) -> list[Weight]:
        return [Weight()]

    def __repr__(self) -> str:
        return "a model"


def test_what_was_built_is_told_by_its_type_and_its_text() -> None:
    assert describe_built("size", {"a": 1}) == {"target": "size", "type": "dict", "repr": "{'a': 1}"}
    assert built_text(describe_built("size", {"a": 1})) == "size: dict\n{'a': 1}"


def test_a_model_is_told_with_its_parameters() -> None:
    assert built_text(describe_built("model", Model())).splitlines()[0].endswith("Model, 1,500 parameters")


def test_a_long_text_is_cut() -> None:
    assert len(describe_built("x", "y" * 9000)["repr"]) == 2004


def test_secrets_are_masked_in_what_came_out_and_in_what_went_wrong() -> None:
    secrets = secret_texts(Call((), "builtins.dict", (), (Edge("key", Const(("key",), Secret("hunter2"))),), "call"))
    assert secrets == ["hunter2"]
    assert describe_built("x", ["hunter2"], secrets)["repr"] == "['********']"
    assert failure_text("x", ValueError("no hunter2"), secrets).splitlines()[0] == (
        "building x failed: ValueError: no ********"
    )


def test_a_failure_says_where_and_how_to_see_more() -> None:
    error = ValueError("wrong\nin many lines")
    error.__notes__ = ["while building x from a.yaml:1", "another"]
    assert failure_text("x", error) == (
        "building x failed: ValueError: wrong\n"
        "  while building x from a.yaml:1\n"
        "  Run again with --debug before the verb to see the traceback."
    )
