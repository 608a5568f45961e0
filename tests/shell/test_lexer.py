from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prompt_toolkit.document import Document
from prompt_toolkit.formatted_text import fragment_list_to_text

from forge.shell.complaint import Complaints
from forge.shell.lexer import ShellLexer, coloured_line

VERBS = frozenset({"show", "set", "train"})


def styles(line: str) -> dict[str, str]:
    return {part[1]: part[0].removeprefix("class:line.") for part in coloured_line(line, VERBS) if part[0]}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("show", {"show": "verb"}),
        ("sho", {}),
        ("sho x", {"sho": "unknown"}),
        ("shwo x", {"shwo": "unknown"}),
        ("show a.b=1 x", {"show": "verb", "a.b": "key", "=": "mark", "1": "value"}),
        ("show a.b=", {"show": "verb", "a.b": "key", "=": "mark"}),
        ("set ~a +b='x y'", {"set": "verb", "~a": "key", "+b": "key", "=": "mark", "'x y'": "value"}),
        ("show 'a b' \"c", {"show": "verb", "'a b'": "quoted", '"c': "open"}),
        ("show --format svg -o f", {"show": "verb", "--format": "flag", "-o": "flag"}),
        ("-t tiny --debug show", {"-t": "flag", "tiny": "value", "--debug": "flag", "show": "verb"}),
        ("show;nosuch", {"show": "verb", ";": "break", "nosuch": "unknown"}),
        ("train &", {"train": "verb", "&": "break"}),
        ("show # it all", {"show": "verb", " # it all": "comment"}),
        ("!ls -l", {"!ls -l": "system"}),
        ("'show", {"'show": "open"}),
    ],
)
def test_each_part_of_a_line_has_its_colour(line: str, expected: dict[str, str]) -> None:
    assert styles(line) == expected


def test_while_the_verbs_are_not_known_none_is_called_unknown() -> None:
    assert coloured_line("shwo", None) == [("class:line.verb", "shwo")]


@given(st.text(alphabet="sh ow;#'\"\\=.-!&~", max_size=20))
def test_colouring_changes_no_letter(line: str) -> None:
    assert fragment_list_to_text(coloured_line(line, VERBS)) == line


def test_every_line_of_a_text_is_coloured_and_a_mistake_in_it_stops_nobody() -> None:
    complaints = Complaints()
    line = ShellLexer(lambda: VERBS, complaints).lex_document(Document("show\nset a=1"))
    assert line(1)[0] == ("class:line.verb", "set")
    assert line(2) == []

    def fail() -> frozenset[str]:
        raise OSError("gone")

    assert ShellLexer(fail, complaints).lex_document(Document("show"))(0) == [("", "show")]
    assert complaints.text == "colouring failed: OSError: gone"
