"""What a run learns from."""

from __future__ import annotations

from typing import Any

import pytest

from forge.base.errors import DataError
from forge.ml.data.corpus import ChatCorpus, Mixture, TextCorpus


def test_a_text_corpus_gives_the_documents_to_learn_from_again_and_again() -> None:
    corpus = TextCorpus(train=("a", "b"), held_out=("c",))
    assert list(corpus.texts()) == list(corpus.texts()) == ["a", "b"]
    assert list(TextCorpus(train=[{"body": "a"}], column="body").texts()) == ["a"]


@pytest.mark.parametrize("corpus", [TextCorpus([]), ChatCorpus([]), Mixture({"one": TextCorpus([])})])
def test_of_no_rows_no_tokenizer_is_made(corpus: Any) -> None:
    with pytest.raises(DataError, match="the dataset has no rows"):
        list(corpus.texts())


def test_documents_that_a_tokenizer_cannot_be_made_of_are_passed_over_or_named() -> None:
    assert list(TextCorpus([{"text": None}, {"text": "a"}, {"other": "b"}]).texts()) == ["a"]
    message = r"no row of the dataset has text: no column txt: the row has text\n.*dataset\.column"
    with pytest.raises(DataError, match=message):
        list(TextCorpus([{"text": "a"}], column="txt").texts())


def test_a_chat_corpus_gives_the_contents_of_its_messages() -> None:
    row = {"turns": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
    assert list(ChatCorpus(train=[row], column="turns").texts()) == ["a", "b"]
    alpaca = [{"instruction": "a", "output": "b"}, {"instruction": "", "output": "c"}]
    assert list(ChatCorpus(train=alpaca).texts()) == ["a", "b"]


def test_a_chat_corpus_knows_the_format_of_its_rows() -> None:
    assert ChatCorpus(train=[{"conversations": []}]).row_format().name == "sharegpt"
    named = ChatCorpus(train=[{"talk": []}], format="sharegpt", column="talk").row_format()
    assert (named.name, named.column("conversations")) == ("sharegpt", "talk")
    renamed = ChatCorpus(train=[{"q": "", "a": ""}], columns={"prompt": "q", "completion": "a"}).row_format()
    assert renamed.name == "prompt_completion"
    with pytest.raises(ValueError, match="have no known format"):
        ChatCorpus(train=[{"x": 1}]).row_format()


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="max_length is at least 2"):
        TextCorpus(train=(), max_length=1)
    with pytest.raises(ValueError, match="none, greedy or best_fit"):
        ChatCorpus(train=(), packing="tight")
    with pytest.raises(ValueError, match="truncate, drop or split"):
        TextCorpus(train=(), overflow="wrap")
    with pytest.raises(ValueError, match="train_on is assistant"):
        ChatCorpus(train=(), train_on="nothing")


def test_a_number_takes_rows_out_of_those_to_learn_from() -> None:
    corpus = TextCorpus(train=[str(number) for number in range(40)], held_out=0.05)
    held_out = list(corpus.held_out)
    assert len(held_out) == 2
    assert sorted([*corpus.texts(), *held_out], key=int) == [str(number) for number in range(40)]
    rows = [{"messages": []}] * 5
    chats = ChatCorpus(train=rows, held_out=2)
    assert (len(list(chats.train)), len(list(chats.held_out)), chats.row_format().name) == (3, 2, "messages")
    with pytest.raises(ValueError, match=r"a share of at most 0\.5"):
        ChatCorpus(train=rows, held_out=0.9)


def test_a_corpus_shows_its_settings_and_not_its_text() -> None:
    shown = repr(TextCorpus(train=("a long text",)))
    assert shown == "TextCorpus(column='text', max_length=1024, packing='greedy', overflow='split')"


def test_a_mixture_gives_the_texts_of_all() -> None:
    mixture = Mixture({"one": TextCorpus(train=["a"]), "two": TextCorpus(train=["b"])}, {"one": 1, "two": 3})
    assert list(mixture.texts()) == ["a", "b"]
    assert (mixture.max_length, mixture.packing) == (1024, "greedy")


def test_a_mixture_that_makes_no_sense_is_refused() -> None:
    one, two = TextCorpus(train=["a"]), TextCorpus(train=["b"], max_length=8)
    with pytest.raises(ValueError, match="datasets is empty"):
        Mixture({})
    with pytest.raises(ValueError, match="weights name each dataset once: one; these name two"):
        Mixture({"one": one}, {"two": 1})
    with pytest.raises(ValueError, match="the weight of one is a number above 0, not 0"):
        Mixture({"one": one}, {"one": 0})
    with pytest.raises(ValueError, match="have one max_length; these have one: 1024, two: 8"):
        Mixture({"one": one, "two": two})
