from __future__ import annotations

import shlex
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge.cli.words import Word, scan


@pytest.mark.parametrize(
    ("line", "texts"),
    [
        ("", []),
        ("  show  ", ["show"]),
        ("set a.b='x y' c=\"d e\"", ["set", "a.b=x y", "c=d e"]),
        (r"set a=x\ y", ["set", "a=x y"]),
        ("show # all of it", ["show"]),
        ("set a=b#c", ["set", "a=b#c"]),
        ("ls;show", ["ls", ";", "show"]),
        ("ls\nshow", ["ls", "\n", "show"]),
        ("why ''", ["why", ""]),
        (r"'a\b'", [r"a\b"]),
        (r'"a\"b"', ['a"b']),
        ("a=[1, 2]", ["a=[1,", "2]"]),
    ],
)
def test_a_line_is_split_as_a_shell_does(line: str, texts: list[str]) -> None:
    assert [word.text for word in scan(line)] == texts


def test_a_word_knows_where_it_stands_and_what_is_open() -> None:
    assert list(scan('why "a b')) == [Word("why", 0, 3), Word("a b", 4, 8, '"', quoted=True)]
    assert [word.breaks for word in scan("a ';' ;")] == [False, False, True]


@given(st.text(alphabet=st.sampled_from(list("ab =.\\'\"#")), max_size=30))
def test_what_the_standard_library_can_split_is_split_alike(line: str) -> None:
    # Inside of words shlex takes # for a comment too, and within "" it keeps a backslash before most letters.
    if "#" in line or ("\\" in line and '"' in line):
        return
    try:
        expected = shlex.split(line)
    except ValueError:
        return
    assert [word.text for word in scan(line)] == expected


@given(st.text(max_size=60))
def test_no_text_is_refused_and_the_words_stand_in_order(line: str) -> None:
    words = list(scan(line))
    assert all(0 <= word.start < word.end <= len(line) for word in words)
    assert all(first.end <= second.start for first, second in pairwise(words))
