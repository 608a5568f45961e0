"""What a run learns from."""

from __future__ import annotations

import pytest

from forge.ml.data.corpus import ChatCorpus, TextCorpus


def test_a_text_corpus_gives_the_documents_to_learn_from_again_and_again() -> None:
    corpus = TextCorpus(train=("a", "b"), held_out=("c",))
    assert list(corpus.texts()) == list(corpus.texts()) == ["a", "b"]


def test_a_chat_corpus_gives_the_contents_of_its_messages() -> None:
    row = {"turns": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
    assert list(ChatCorpus(train=[row], column="turns").texts()) == ["a", "b"]


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="max_length is at least 2"):
        TextCorpus(train=(), max_length=1)
    with pytest.raises(ValueError, match="none, greedy or best_fit"):
        ChatCorpus(train=(), packing="tight")
    with pytest.raises(ValueError, match="assistant or all"):
        ChatCorpus(train=(), train_on="nothing")


def test_a_corpus_shows_its_settings_and_not_its_text() -> None:
    assert repr(TextCorpus(train=("a long text",))) == "TextCorpus(max_length=1024, packing='greedy')"
