from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from forge.cli.completion import beginning_with, complete
from forge.cli.known import FILES, FOLDERS, Candidate, Flag, Value
from forge.cli.options import Positional
from forge.cli.registry import VERBS, Registry, Verb

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from forge.cli.options import Completes


class Fixed:
    """What a small project would answer."""

    verbs = VERBS

    def __init__(self, wide: int = 0) -> None:
        self.wide = wide

    def projects(self) -> Mapping[str, str]:
        return {"pydoc": "Python's reference", "samantha": ""}

    def configs(self) -> Mapping[str, str]:
        return {"tiny": "default", "pretrain/large": ""}

    def groups(self) -> Mapping[str, str]:
        return {"model": "small", "optimizer": ""}

    def choices(self, group: str) -> Mapping[str, str]:
        found: dict[str, dict[str, str]] = {"model": {"small": "Two layers.", "large": ""}, "optimizer": {"adamw": ""}}
        return found[group]

    def values(self, path: Sequence[str]) -> Mapping[str, Value]:
        if self.wide:
            return {f"key_{number}": Value(str(number)) for number in range(self.wide)}
        tree = {
            (): {
                "model": Value("", inner=True),
                "trainer": Value("", inner=True),
                "mode": Value("fast", choices=("fast", "slow")),
            },
            ("trainer",): {"max_steps": Value("100"), "quiet": Value("false"), "inner": Value("", inner=True)},
        }
        return tree.get(tuple(path), {})

    def targets(self) -> Mapping[str, str]:
        return {"trainer": "x.Trainer", "trainer.model": "x.Model"}

    def overrides(self) -> Mapping[str, str]:
        return {"mode": "mode=fast", "trainer.max_steps": "trainer.max_steps=1"}

    def sources(self) -> Mapping[str, str]:
        return {"configs/tiny.yaml": "project"}

    def jobs(self) -> Mapping[str, str]:
        return {"tiny-1": "running"}

    def flags(self) -> Sequence[Flag]:
        return (
            Flag(("--max-steps", "-M"), "Stop."),
            Flag(("--mode",), "How.", ("fast", "slow")),
            Flag(("--quiet",), "", switch=True),
        )


def texts(line: str, known: Fixed | None = None) -> list[str]:
    words = line.split(" ")
    return [candidate.text for candidate in complete(words, len(words) - 1, known or Fixed())]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("sho", ["show"]),
        ("-", ["--project", "--config", "--interactive", "--commands", "--debug", "--version", "--help"]),
        ("-p ", ["pydoc", "samantha"]),
        ("-t t", ["tiny"]),
        ("-t tiny -p py", ["pydoc"]),
        ("-t tiny wh", ["why"]),
        ("-t tiny -c text wh", ["why"]),
        ("help tre", ["trefs"]),
        ("completion ", ["bash", "zsh", "fish"]),
        ("graph --for", ["--format"]),
        ("graph --format s", ["svg"]),
        ("graph --format=h", ["--format=html"]),
        ("graph --target tr", ["trainer", "trainer."]),
        ("graph --focus trainer.", ["trainer.model"]),
        ("show --m", ["--max-steps", "--mode"]),
        ("show --mode ", ["fast", "slow"]),
        ("show --mode=s", ["--mode=slow"]),
        ("show -M", ["-M"]),
        ("show mod", ["model=", "model.", "mode="]),
        ("show model=", ["model=small", "model=large"]),
        ("show op", []),
        ("show +op", ["+optimizer="]),
        ("show +optimizer=", ["+optimizer=adamw"]),
        ("show trainer.", ["trainer.max_steps=", "trainer.quiet=", "trainer.inner."]),
        ("show trainer.q", ["trainer.quiet="]),
        ("show trainer.quiet=", ["trainer.quiet=true", "trainer.quiet=false"]),
        ("show trainer.max_steps=", ["trainer.max_steps=100"]),
        ("show mode=s", ["mode=slow"]),
        ("show ~t", ["~trainer."]),
        ("show ~trainer.m", ["~trainer.max_steps"]),
        ("why trainer.", ["trainer.max_steps", "trainer.quiet", "trainer.inner."]),
        ("why trainer.quiet mode=s", ["mode=slow"]),
        ("why mode=s", ["mode=slow"]),
        ("diff t", ["tiny", "trainer."]),
        ("diff tiny pre", ["pretrain/large"]),
        ("diff tiny mode=slow pre", ["pretrain/large"]),
        ("nosuch ", []),
        ("show nosuch=", []),
        ("show nosuch.", []),
    ],
)
def test_what_may_come_next(line: str, expected: list[str]) -> None:
    assert texts(line) == expected


def test_a_file_is_left_to_the_shell() -> None:
    assert complete(["show", "-o", ""], 2, Fixed()) == [FILES]


def test_candidates_carry_their_meaning_and_kind() -> None:
    found = {one.text: one for one in complete(["show", "model="], 1, Fixed())}
    assert found["model=small"] == Candidate("model=small", "now, Two layers.", "choice")
    assert Candidate("model=", "group, now small", "group") in complete(["show", "mo"], 1, Fixed())
    assert complete(["show", "mode"], 1, Fixed())[-1:] == [Candidate("mode=", "fast, fast | slow", "key")]
    assert {one.kind for one in complete([""], 0, Fixed())} == {"verb"}


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("override", [Candidate("mode", "mode=fast", "override")]),
        ("source", [FILES]),
        ("job", []),
        ("folder", [FOLDERS]),
        ("", []),
    ],
)
def test_each_kind_of_word_has_its_names(kind: Completes, expected: list[Candidate]) -> None:
    assert _of_kind(kind, "m") == expected
    if kind in {"source", "job"}:
        assert len([one for one in _of_kind(kind, "") if one.text]) == 1


def _of_kind(kind: Completes, word: str) -> list[Candidate]:
    verb = Verb(
        name="some", summary="", help="", run=lambda _: 0, positionals=(Positional("WORD", "", completes=kind),)
    )

    class One(Registry):
        def find(self, word: str) -> Verb:
            assert word == "some"
            return verb

    class Known(Fixed):
        verbs = One()

    return complete(["some", word], 1, Known())


def test_another_way_to_choose_among_names_is_asked_everywhere() -> None:
    def inside(word: str, names: Iterable[str]) -> list[str]:
        return [name for name in names if word in name]

    assert [one.text for one in complete(["show", "trainer.steps"], 1, Fixed(), inside)] == ["trainer.max_steps="]
    assert [one.text for one in complete(["-p", "doc"], 1, Fixed(), inside)] == ["pydoc"]
    assert beginning_with("a", ["ab", "ba"]) == ["ab"]


def test_the_word_at_the_cursor_counts_and_not_the_last() -> None:
    assert [one.text for one in complete(["sh", "model=large"], 0, Fixed())] == ["show"]


def test_ten_thousand_keys_are_narrowed_down() -> None:
    assert len(texts("show key_9", Fixed(wide=10_000))) == 1111


@pytest.mark.parametrize(
    "line", ["graph --format s", "graph --format=s", "completion z", "show --mode=s", "show mode="]
)
def test_each_choice_has_its_meaning_beside_it(line: str) -> None:
    words = line.split(" ")
    found = complete(words, len(words) - 1, Fixed())
    assert found
    assert all(one.meaning for one in found), found
