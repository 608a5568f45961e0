from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge.compose.reference import NOT_FOUND, absolute, follow, is_interpolation, lookup, reference_of

ROOT = {
    "a": {"b": {"c": 1}, "list": [10, {"x": 11}, [12]], 3: "three", "null": None, "open": "???", True: "yes"},
    "to_a": "${a}",
    "to_b": "${to_a.b}",
    "sibling": {"x": 5, "y": "${.x}", "z": "${..a.b.c}"},
    "one": "${two}",
    "two": "${one}",
    "self": "${self}",
    "deep": "${deep.deeper}",
    "text": "v${a.b.c}",
    "nowhere": "${gone}",
}


@pytest.mark.parametrize("value", ["${a}", "x${a}y", "${", "${}", "\\${a}", "$${a}"])
def test_a_text_with_the_mark_of_one_is_an_interpolation(value: str) -> None:
    assert is_interpolation(value)


@pytest.mark.parametrize("value", ["", "$", "{a}", "$a", "$ {a}", None, 1, ["${a}"], {"${a}": 1}])
def test_other_values_are_no_interpolations(value: object) -> None:
    assert not is_interpolation(value)


@pytest.mark.parametrize(
    ("value", "reference"),
    [
        ("${a}", "a"),
        ("${a.b}", "a.b"),
        ("${ a.b }", "a.b"),
        ("${.a}", ".a"),
        ("${..a}", "..a"),
        ("${..}", ".."),
        ("${a[0]}", "a[0]"),
        ("${a[0].b}", "a[0].b"),
        ("${a.0}", "a.0"),
        ("${a-b}", "a-b"),
        ("${a/b}", "a/b"),
        ("${é}", "é"),
        ("${a:b}", None),
        ("${oc.env:HOME}", None),
        ("${a${b}}", None),
        ("${a.${b}}", None),
        ("${a}${b}", None),
        ("${a} ", None),
        (" ${a}", None),
        ("x${a}", None),
        ("\\${a}", None),
        ("${}", None),
        ("${ }", None),
        ("${a", None),
        ("${a b}", None),
        ("${a,b}", None),
        ("${a}\n", None),
        ("${'a'}", None),
        (None, None),
        (["${a}"], None),
    ],
)
def test_a_pure_reference_is_told_from_every_other_text(value: object, reference: str | None) -> None:
    assert reference_of(value) == reference


@pytest.mark.parametrize(
    ("at", "reference", "path"),
    [
        (("x", "y"), "a.b", ("a", "b")),
        (("x", "y"), ".b", ("x", "b")),
        (("x", "y"), "..b", ("b",)),
        (("x", 0, "y"), "..b", ("x", "b")),
        (("x", 0), ".1", ("x", "1")),
        (("x", "y"), "..", ()),
        (("x", "y"), ".", ("x",)),
        ((), "a[0]", ("a", 0)),
        ((), "a.0", ("a", "0")),
        ((), "[a].b", ("a", "b")),
        ((), "a['b.c']", ("a", "b.c")),
    ],
)
def test_leading_dots_climb(at: tuple[str | int, ...], reference: str, path: tuple[str | int, ...]) -> None:
    assert absolute(at, reference) == path


@pytest.mark.parametrize(
    ("at", "reference"), [(("x",), "..b"), ((), ".b"), (("x", "y"), "...b"), ((), "a..b"), ((), "a[")]
)
def test_a_reference_out_of_the_config_has_no_place(at: tuple[str, ...], reference: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - it carries the reference, nothing else
        absolute(at, reference)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ((), ROOT),
        (("a", "b", "c"), 1),
        (("a", "list", 0), 10),
        (("a", "list", "0"), 10),
        (("a", "list", "1", "x"), 11),
        (("a", "list", -1), NOT_FOUND),
        (("a", "list", "1_0"), NOT_FOUND),
        (("a", "3"), "three"),
        (("a", 3), "three"),
        (("a", "True"), "yes"),
        (("a", "null"), None),
        (("a", "open"), "???"),
        (("to_a", "b", "c"), 1),
        (("to_b", "c"), 1),
        (("to_b",), "${to_a.b}"),
        (("sibling", "y"), "${.x}"),
        (("a", "gone"), NOT_FOUND),
        (("a", "list", 3), NOT_FOUND),
        (("a", "list", "x"), NOT_FOUND),
        (("a", "list", None), NOT_FOUND),
        (("a", "b", "c", "d"), NOT_FOUND),
        (("a", "null", "x"), NOT_FOUND),
        (("one", "x"), NOT_FOUND),
        (("self", "x"), NOT_FOUND),
        (("deep", "x"), NOT_FOUND),
        (("text", "x"), NOT_FOUND),
        (("nowhere", "x"), NOT_FOUND),
    ],
)
def test_lookup_finds_the_raw_value_and_follows_references_on_the_way(
    path: tuple[str | int, ...], value: object
) -> None:
    assert lookup(ROOT, path) is value or lookup(ROOT, path) == value


@pytest.mark.parametrize(
    ("at", "value"),
    [
        (("to_a",), ROOT["a"]),
        (("to_b",), {"c": 1}),
        (("sibling", "y"), 5),
        (("sibling", "z"), 1),
        (("one",), NOT_FOUND),
        (("self",), NOT_FOUND),
        (("deep",), NOT_FOUND),
        (("text",), NOT_FOUND),
        (("nowhere",), NOT_FOUND),
    ],
)
def test_follow_goes_to_the_end_of_a_chain_and_never_in_circles(at: tuple[str, ...], value: object) -> None:
    assert follow(ROOT, at, lookup(ROOT, at)) == value


@pytest.mark.parametrize("length", [50, 10_000])
def test_a_long_chain_is_followed_to_its_end(length: int) -> None:
    root: dict[str, object] = {f"k{index}": f"${{k{index + 1}}}" for index in range(length)}
    root[f"k{length}"] = {"x": 7}
    assert follow(root, ("k0",), root["k0"]) == {"x": 7}
    assert lookup(root, ("k0", "x")) == 7


def test_a_circle_through_paths_ends() -> None:
    root = {"a": "${b.x}", "b": "${a.x}"}
    assert follow(root, ("a",), "${b.x}") is NOT_FOUND
    assert lookup(root, ("a", "x")) is NOT_FOUND


@given(st.text(max_size=12), st.lists(st.sampled_from(["a", "list", 0, "x"]), max_size=3))
def test_no_text_makes_following_fail(text: str, at: list[str | int]) -> None:
    found = follow(ROOT, tuple(at), "${" + text + "}")
    assert found is NOT_FOUND or found is ROOT or not is_interpolation(found)
