from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge.base.paths import dotted, parse_dotted

PLAIN = st.text(st.characters(blacklist_characters=".[]'\"", blacklist_categories=("Z", "C")), min_size=1)
OTHER = st.one_of(st.text(), st.none(), st.booleans(), st.floats(allow_nan=False, allow_infinity=False))


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ((), ""),
        (("a",), "a"),
        (("a", "b", 0), "a.b[0]"),
        (("a", "b c"), "a['b c']"),
        ((0, "a"), "[0].a"),
        (("a.b", "c"), "['a.b'].c"),
        (("a", None), "a[None]"),
    ],
)
def test_a_path_prints_as_people_write_it(path: tuple[object, ...], text: str) -> None:
    assert dotted(path) == text  # type: ignore[arg-type]


def test_numbers_between_dots_stay_text() -> None:
    assert parse_dotted("a.0.b") == ("a", "0", "b")
    assert parse_dotted("a[0].b[-1]") == ("a", 0, "b", -1)


def test_a_word_in_brackets_is_a_key_as_in_omegaconf() -> None:
    assert parse_dotted("a[b].c") == ("a", "b", "c")


@pytest.mark.parametrize("text", ["a[", "a['b\\x']", "a['b]", "a]", "a..b", "a[]"])
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_dotted(text)


@given(st.lists(PLAIN | st.integers(-9, 99) | OTHER))
def test_parsing_undoes_printing(path: list[str | int]) -> None:
    assert parse_dotted(dotted(tuple(path))) == tuple(path)
