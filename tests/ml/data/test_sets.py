from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from forge.base.errors import DataError, UsageError
from forge.ml.data.corpus import ChatCorpus, Mixture, TextCorpus
from forge.ml.data.prepare import prepare
from forge.ml.data.read import file_rows
from forge.ml.data.sets import chosen_sets, prepared_sets, remarks
from forge.ml.data.source import place_of, rows_from

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("own_cache")


def _names(sets: list[Any]) -> list[str]:
    return [found.name for found in sets]


def test_a_corpus_has_its_rows_to_learn_from_and_those_held_out(byte_tokenizer: Callable[..., Any]) -> None:
    sets = prepared_sets(TextCorpus(train=("a", "b"), held_out=("c",)), byte_tokenizer())
    assert _names(sets) == ["train", "held_out"]
    assert [list(found.rows) for found in sets] == [["a", "b"], ["c"]]
    assert [found.held_out for found in sets] == [False, True]
    assert [len(found.split.tokens) for found in sets] == [2, 1]


def test_held_out_sets_and_datasets_have_their_names(byte_tokenizer: Callable[..., Any]) -> None:
    named = TextCorpus(train=("a",), held_out={"easy": ("b",), "hard": ("c",)})
    sets = prepared_sets(named, byte_tokenizer())
    assert _names(sets) == ["train", "held_out/easy", "held_out/hard"]
    assert _names(chosen_sets(sets, "easy")) == ["held_out/easy"]
    mixture = Mixture({"one": TextCorpus(train=("a",), held_out=("b",)), "two": named})
    sets = prepared_sets(mixture, byte_tokenizer())
    assert _names(chosen_sets(sets, "train")) == ["train/one", "train/two"]
    assert all(not found.held_out for found in chosen_sets(sets, "train"))
    assert [list(found.rows) for found in chosen_sets(sets, "held_out")] == [["b"], ["b"], ["c"]]
    assert _names(sets) == ["train/one", "held_out/one", "train/two", "held_out/two/easy", "held_out/two/hard"]
    assert _names(chosen_sets(sets, "train/two")) == ["train/two"]
    assert _names(chosen_sets(sets, "one")) == ["train/one", "held_out/one"]
    assert [list(found.rows) for found in chosen_sets(sets, "hard")] == [["c"]]
    in_training = list(prepare(mixture, byte_tokenizer()).held_out)
    assert in_training == ["one", "two/easy", "two/hard"]
    for name in in_training:
        assert f"held_out/{name}" in _names(chosen_sets(sets, name))
        assert _names(chosen_sets(sets, f"held_out/{name}")) == [f"held_out/{name}"]
    assert _names(chosen_sets(sets, None)) == _names(sets)


def test_a_held_out_set_may_have_the_name_of_what_is_learned(byte_tokenizer: Callable[..., Any]) -> None:
    sets = prepared_sets(TextCorpus(train=("a",), held_out={"train": ("b",), 2: ("c",)}), byte_tokenizer())
    assert _names(sets) == ["train", "held_out/train", "held_out/2"]
    assert [list(found.rows) for found in chosen_sets(sets, "train")] == [["a"]]
    assert [list(found.rows) for found in chosen_sets(sets, "held_out")] == [["b"], ["c"]]


def test_of_a_stream_the_first_rows_are_looked_at(byte_tokenizer: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text("".join(f'{{"text": "document {number}"}}\n' for number in range(3000)))
    rows = file_rows([str(tmp_path / "rows.jsonl")], streaming=True)
    (found,) = prepared_sets(TextCorpus(train=rows), byte_tokenizer())
    assert found.part
    assert found.split.report.rows == 2048


def test_the_first_rows_of_a_stream_know_their_place(byte_tokenizer: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('\n{"text": "a"}\n\n{"text": ""}\n')
    (found,) = prepared_sets(TextCorpus(train=file_rows(str(path), streaming=True)), byte_tokenizer())
    assert found.split.report.lines() == [f"1 of 2 rows not used: an empty document; the first is row 1 ({path}:4)"]
    assert [place_of(found.rows, row) for row in range(2)] == [f"{path}:2", f"{path}:4"]
    assert list(rows_from(found.rows, 1)) == [{"text": ""}]
    path.write_text("")
    with pytest.raises(DataError, match=r"there is none in .*rows\.jsonl"):
        prepared_sets(TextCorpus(train=file_rows(str(path), streaming=True)), byte_tokenizer())


def test_a_set_that_is_not_there_is_refused(byte_tokenizer: Callable[..., Any]) -> None:
    sets = prepared_sets(TextCorpus(train=("a",)), byte_tokenizer())
    with pytest.raises(UsageError, match="nothing is held out"):
        chosen_sets(sets, "held_out")
    with pytest.raises(UsageError, match=r"there is no set 'trian'(?s:.*)did you mean 'train'"):
        chosen_sets(sets, "trian")


TALK = {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]}
OTHER_MARKS = "{% for m in messages %}[{{ m.role }}]{{ m.content }}[/{{ m.role }}]{% endfor %}"


def test_turns_that_no_token_ends_are_remarked_upon(byte_tokenizer: Callable[..., Any]) -> None:
    pytest.importorskip("jinja2")
    for train_on in ("assistant", "all"):
        (found,) = prepared_sets(ChatCorpus(train=[TALK], train_on=train_on), byte_tokenizer())
        assert remarks(found, byte_tokenizer()) == []
        tokenizer = byte_tokenizer(OTHER_MARKS)
        (found,) = prepared_sets(ChatCorpus(train=[TALK], train_on=train_on), tokenizer)
        (line,) = remarks(found, tokenizer)
        assert line.startswith("1 of 1 examples end with no special token")


def test_rows_that_are_lost_are_remarked_upon(byte_tokenizer: Callable[..., Any]) -> None:
    (found,) = prepared_sets(TextCorpus(train=("a", "")), byte_tokenizer())
    assert remarks(found, byte_tokenizer()) == ["1 of 2 rows not used: an empty document; the first is row 1"]
