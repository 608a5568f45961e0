from __future__ import annotations

import math

import pytest

from forge.base.secrets import Secret
from forge.graph.node import Call, Const, Edge, Map, Missing, Seq
from forge.render.label import elided, inline, leaf, printable, shown, tag


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (1e-5, "1e-05"),
        (math.inf, "inf"),
        (-math.inf, "-inf"),
        (math.nan, "nan"),
        ("sdpa", "sdpa"),
        ("/data/x.yaml", "/data/x.yaml"),
        ("two words", "two words"),
        ("true", '"true"'),
        ("1", '"1"'),
        ("", '""'),
        (" x", '" x"'),
        ("a\nb", '"a\\nb"'),
        ("\x1b[31m", '"\\u001b[31m"'),
        ([1, "a", [None]], "[1, a, [null]]"),
        ({"a": 1}, "{a: 1}"),
        (Secret("hunter2"), "********"),
        ([Secret("hunter2")], "[********]"),
        ({"a": Secret("hunter2")}, "{a: ********}"),
    ],
)
def test_values_read_like_the_config(value: object, text: str) -> None:
    assert shown(value) == text


def test_long_texts_lose_their_middle() -> None:
    assert elided("abcdefghij", 10) == "abcdefghij"
    assert elided("abcdefghijk", 10) == "abcdefg…jk"
    assert len(shown("x" * 10_000_000, 40)) == 40
    assert len(shown(list(range(1_000_000)), 40)) == 40


def test_nothing_unprintable_is_shown() -> None:
    assert printable("a\u202eb\x07\ud800") == "a\\u202eb\\x07\\ud800"


@pytest.mark.parametrize(
    ("target", "text"),
    [
        ("torch.optim.AdamW", "AdamW"),
        ("transformers.AutoModel.from_config", "AutoModel.from_config"),
        ("forge.ml.optim.cosine", "cosine"),
        ("print", "print"),
    ],
)
def test_a_target_is_called_by_its_last_names(target: str, text: str) -> None:
    assert leaf(target) == text


def test_only_what_fits_on_a_line_is_inline() -> None:
    assert inline(Missing(())) == "???"
    assert inline(Call((), "torch.bfloat16", mode="symbol")) == "torch.bfloat16"
    assert inline(Call((), "a.B")) is None
    assert inline(Seq((), ())) == "[]"
    assert inline(Map((), ())) == "{}"
    assert inline(Seq((), (Edge(0, Const((), 1)), Edge(1, Const((), 2))))) == "[1, 2]"
    assert inline(Seq((), (Edge("a", Const((), 1)),))) is None
    assert inline(Seq((), (Edge(0, Call((), "a.B")),))) is None
    assert inline(Map((), (Edge("a", Const((), 1)),))) is None
    assert tag(Call((), "a.B", mode="partial")) == "partial"
