"""A refusal as text: the reason on a line, and each way out on one."""

from __future__ import annotations

from forge.plan.refusal import Refusal


def test_a_refusal_is_its_reason_and_the_ways_out() -> None:
    found = Refusal("tp", "it is so", "because", ("a=1", "b=2 c=3"))
    assert found.reason == "it is so: because"
    assert str(found) == "it is so: because\n  possible:\n    a=1\n    b=2 c=3"


def test_where_nothing_is_known_nothing_is_said() -> None:
    assert str(Refusal("tp", "it is so", "")) == "it is so"
    assert Refusal("tp", "it is so", "").ways == ""
