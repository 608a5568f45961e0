from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from forge.cli.completion import FILES, Candidate, Flag, Value, complete
from forge.cli.registry import VERBS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


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
        ("s", ["show"]),
        ("-", ["--project", "--config", "--debug", "--version", "--help"]),
        ("-p ", ["pydoc", "samantha"]),
        ("-t t", ["tiny"]),
        ("-t tiny -p py", ["pydoc"]),
        ("-t tiny wh", ["why"]),
        ("help tre", ["trefs"]),
        ("completion ", ["bash", "zsh", "fish"]),
        ("graph --for", ["--format"]),
        ("graph --format s", ["svg"]),
        ("graph --format=h", ["--format=html"]),
        ("graph --target tr", ["trainer", "trainer.model"]),
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


def test_candidates_carry_their_meaning() -> None:
    found = dict(complete(["show", "model="], 1, Fixed()))
    assert found["model=small"] == "Two layers."
    assert Candidate("model=", "group, now small") in complete(["show", "mo"], 1, Fixed())


def test_the_word_at_the_cursor_counts_and_not_the_last() -> None:
    assert [one.text for one in complete(["sh", "model=large"], 0, Fixed())] == ["show"]


def test_ten_thousand_keys_are_narrowed_down() -> None:
    assert len(texts("show key_9", Fixed(wide=10_000))) == 1111
