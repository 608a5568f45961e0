from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge.cli.known import Candidate
from forge.shell.rank import MOST, Ranker, Usage, quality

NAMES = st.text(alphabet="aAbB._-[^]\\", min_size=1, max_size=8)


@pytest.mark.parametrize(
    "ordered",
    [
        ["lr", "lr_decay", "LR", "min_lr", "color_lr", "colrs", "layer"],
        ["max", "max_steps", "Max", "steps_max", "climax", "m_a_x", "my_latex"],
    ],
)
def test_a_better_match_has_a_smaller_quality(ordered: list[str]) -> None:
    word = ordered[0]
    found = ordered[::-1]
    found.sort(key=lambda name: quality(word, name))
    assert found == ordered


def test_the_letters_of_a_word_are_looked_for_where_they_lie_closest() -> None:
    assert quality("ms", "mammoths_max_steps") == (5, 2, 11) or quality("ms", "mammoths_max_steps")[0] == 5
    assert quality("ab", "a__a_b") < quality("ab", "a___b")
    assert quality("xyz", "max") > quality("mx", "max")


def test_equal_matches_are_sorted_by_kind_then_use_then_alphabet() -> None:
    ranker = Ranker({"stop": 2, "set": 5})
    found = ranker.sort(
        "s",
        [
            Candidate(text, "", kind)
            for text, kind in [("show", "verb"), ("seed=", "key"), ("stop", "verb"), ("set", "verb")]
        ],
    )
    assert [one.text for one in found] == ["set", "stop", "show", "seed="]


def test_only_the_step_at_the_cursor_counts() -> None:
    texts = ["trainer.lr_max=", "trainer.lr=", "trainer.lr_a."]
    found = Ranker().sort("trainer.lr", [Candidate(text) for text in texts])
    assert [one.text for one in found] == ["trainer.lr=", "trainer.lr_a.", "trainer.lr_max="]
    values = Ranker().sort("lr=0", [Candidate("lr=1.0"), Candidate("lr=0.1")])
    assert [one.text for one in values] == ["lr=0.1", "lr=1.0"]


def test_names_are_taken_by_their_beginning_their_inside_and_their_letters() -> None:
    names = ["max_steps", "steps", "Max", "warmup", "maze", "m_a"]
    assert Ranker().select("ma", names) == ["max_steps", "maze", "Max"]
    assert Ranker().select("mx", names) == ["Max", "max_steps"]
    assert Ranker().select("", names) == names
    assert Ranker().select("xq", names) == []


def test_of_many_names_those_in_use_stay() -> None:
    names = [f"key_{number:05}" for number in range(10_000)]
    ranker = Ranker({"key_09999": 1})
    for word in ("", "key", "k9"):
        found = ranker.select(word, names)
        assert len(found) == MOST
        assert len(set(found)) == MOST
    assert ranker.select("", names)[:2] == ["key_09999", "key_00000"]


@given(NAMES, st.lists(NAMES, max_size=8, unique=True))
def test_what_is_selected_is_what_matches(word: str, names: list[str]) -> None:
    found = Ranker().select(word, names)
    matching = {name: quality(word, name)[0] for name in names if quality(word, name)[0] < 9}
    loose = min(matching.values(), default=0) == 5
    assert set(found) == {name for name, kind in matching.items() if loose or kind < 5}
    assert len(found) == len(set(found))


def test_use_counts_words_keys_and_the_steps_of_keys() -> None:
    usage = Usage()
    usage.add_line("show trainer.max_steps=10; set +model=tiny 'a b'")
    usage.add_line("show trainer.max_steps=20")
    usage.add_line("train 'not closed")
    assert usage["show"] == 2
    assert usage["trainer.max_steps="] == 2
    assert usage["trainer.max_steps=10"] == 1
    assert usage["max_steps"] == usage["trainer."] == usage["trainer"] == 2
    assert usage["model="] == 1
    assert usage["a b"] == 1
