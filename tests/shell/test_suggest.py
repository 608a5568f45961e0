from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge.cli.known import Flag, Value
from forge.cli.words import scan
from forge.shell.rank import Ranker
from forge.shell.state import SHELL_VERBS
from forge.shell.suggest import Suggestion, quoted_word, suggest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


class Fixed:
    """What a small project would answer; it remembers for which line it was asked."""

    verbs = SHELL_VERBS

    def __init__(self) -> None:
        self.asked: tuple[str | None, str | None, tuple[str, ...]] = (None, None, ())

    def of_line(self, project: str | None, config: str | None, overrides: tuple[str, ...]) -> Fixed:
        self.asked = (project, config, overrides)
        return self

    def projects(self) -> Mapping[str, str]:
        return {"pydoc": "Python's reference", "samantha": ""}

    def configs(self) -> Mapping[str, str]:
        return {"tiny": "default", "pretrain/large": "", "with blank": ""}

    def groups(self) -> Mapping[str, str]:
        return {"model": "small"}

    def choices(self, group: str) -> Mapping[str, str]:
        return {"model": {"small": "Two\nlayers.", "large": ""}}[group]

    def values(self, path: Sequence[str]) -> Mapping[str, Value]:
        tree = {
            (): {"model": Value("", inner=True), "trainer": Value("", inner=True), "mode": Value("fast")},
            ("trainer",): {"max_steps": Value("100", type="int"), "max_time": Value("1"), "seed": Value("1")},
        }
        return tree.get(tuple(path), {})

    def targets(self) -> Mapping[str, str]:
        return {"trainer": "x.Trainer", "trainer.model": "x.Model"}

    def flags(self) -> Sequence[Flag]:
        return (Flag(("--mode",), "How.", ("fast", "slow")),)

    def overrides(self) -> Mapping[str, str]:
        return {"mode": "mode=fast"}

    def sources(self) -> Mapping[str, str]:
        return {"configs/tiny.yaml": "project"}

    def jobs(self) -> Mapping[str, str]:
        return {"tiny-1": "running"}


def found(text: str, known: Fixed | None = None) -> list[Suggestion]:
    """The suggestions where ``|`` stands."""
    cursor = text.index("|") if "|" in text else len(text)
    return suggest(text.replace("|", ""), cursor, known or Fixed(), Ranker())


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("sho", ["show"]),
        ("show trainer.st", ["trainer.max_steps="]),
        ("show trainer.mx", ["trainer.max_steps=", "trainer.max_time="]),
        ("show trainer.max_|steps=3", ["trainer.max_steps=", "trainer.max_time="]),
        ("show model=", ["model=large", "model=small"]),
        ("shw", ["show"]),
        ("show ; unset ", ["mode"]),
        ("show\nunset ", ["mode"]),
        ("show;unset m", ["mode"]),
        ("show a=1 &; unset mo", ["mode"]),
        ("-t ti", ["tiny"]),
        ("-t pl", ["pretrain/large"]),
        ("-t wi", ["'with blank'"]),
        ("-t 'with b", ["'with blank'"]),
        ('-t "with b', ['"with blank"']),
        ("graph --target trainer.", ["trainer.model"]),
        ("show # a comment ", []),
        ("show nosuch.", []),
        ("! anything", []),
        ("nosuch ", []),
        ("--inter", []),
    ],
)
def test_what_the_word_at_the_cursor_may_become(line: str, expected: list[str]) -> None:
    assert [one.text for one in found(line)] == expected


def test_a_suggestion_replaces_the_word_and_shows_the_step_that_is_typed() -> None:
    first, *_ = found("show; show trainer.seed")
    assert first == Suggestion("trainer.seed=", 11, "seed=", "1", "key")
    choice = next(one for one in found("show model=sm"))
    assert (choice.start, choice.shown, choice.meaning) == (5, "small", "now, Two layers.")


def test_the_flags_before_the_verb_and_the_overrides_choose_what_is_known() -> None:
    known = Fixed()
    found("set mode=fast; -p pydoc -t tiny show mode=slow model=", known)
    assert known.asked == ("pydoc", "tiny", ("mode=slow",))
    found("show trainer.", known)
    assert known.asked == (None, None, ())


def test_files_are_looked_up_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "out dir").mkdir()
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "project.yaml").write_text("# It.\nname: demo # the name\n")
    (tmp_path / "notes.txt").touch()
    (tmp_path / ".hidden").touch()
    monkeypatch.chdir(tmp_path)
    assert [one.text for one in found("show -o ")] == ["here/", "notes.txt", "'out dir/"]
    assert [one.text for one in found("show -o .")] == [".hidden"]
    assert [one.text for one in found("show -o ntx")] == ["notes.txt"]
    assert [one.meaning for one in found("show -o not")] == ["0 B"]
    assert [(one.text, one.shown, one.meaning) for one in found("cd he")] == [("here/", "here/", "project demo")]
    assert [one.text for one in found("cd ")] == ["here/", "'out dir/"]
    assert [(one.text, one.shown) for one in found("show -o here/p")] == [("here/project.yaml", "project.yaml")]
    assert [one.text for one in found("!cat no")] == ["notes.txt"]
    assert [one.text for one in found("show -o nosuch/")] == []


@given(st.text(alphabet="ab;#& '\"\\\n=", min_size=1, max_size=12), st.sampled_from(["", "'", '"']))
def test_what_is_quoted_is_read_back(text: str, quote: str) -> None:
    assert [word.text for word in scan(quoted_word(text, quote))] == [text]


@given(st.text(alphabet="sh ow;#'\"\\\n=.-!&tr", max_size=20))
def test_no_line_is_too_strange(text: str) -> None:
    for one in found(text):
        assert 0 <= one.start <= len(text)
