from __future__ import annotations

import json
import os
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from forge.base.errors import DataError
from forge.base.places import shipped_projects
from forge.ml.data.corpus import ChatCorpus, Mixture, TextCorpus
from forge.ml.data.read import file_rows, text_files

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

np = pytest.importorskip("numpy")
prepare_module = pytest.importorskip("forge.ml.data.prepare")
prepare = prepare_module.prepare

CHAT = {"messages": [{"role": "user", "content": "why"}, {"role": "assistant", "content": "so"}]}


def _entries(folder: Path) -> set[str]:
    return set(os.listdir(folder)) if folder.exists() else set()


def _ids(split: Any) -> list[list[int]]:
    return [split.tokens.example(number)[0].tolist() for number in range(len(split.tokens))]


def test_documents_become_tokens_once(byte_tokenizer: Callable[..., Any], own_cache: Path) -> None:
    tokenizer = byte_tokenizer()
    corpus = TextCorpus(["one", "two"], ["three"], packing="none")
    made = prepare(corpus, tokenizer)
    assert _ids(made.train) == [[*tokenizer.backend_tokenizer.encode(text).ids, 2] for text in ("one", "two")]
    assert list(made.held_out) == ["held_out"]
    assert len(_entries(own_cache)) == 2
    monkeypatched = SimpleNamespace(**vars(tokenizer))
    again = prepare(corpus, monkeypatched)
    assert _ids(again.train) == _ids(made.train)
    assert len(_entries(own_cache)) == 2


def test_rows_held_out_by_their_number_are_prepared_apart_and_named_by_their_line(
    byte_tokenizer: Callable[..., Any], tmp_path: Path
) -> None:
    path = tmp_path / "rows.jsonl"
    rows = [{"text": f"row {number}"} if number != 6 else {"text": 7} for number in range(8)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    made = prepare(TextCorpus(file_rows([str(path)]), 3, packing="none"), byte_tokenizer())
    assert (len(made.train), len(made.held_out["held_out"])) == (4, 3)
    assert [line for line in made.lines() if f"{path.name}:7" in line]
    with pytest.raises(DataError, match=r"has no rows: there is none in .*rows.jsonl behind the first 8 rows"):
        prepare(TextCorpus(file_rows([str(path)]), 8), byte_tokenizer())
    with pytest.raises(DataError, match=r"held-out set .*has no rows: there is none in a share of 0\.01 of "):
        prepare(TextCorpus(file_rows([str(path)]), 0.01), byte_tokenizer())


def test_the_lines_name_the_set_in_which_rows_were_lost(byte_tokenizer: Callable[..., Any]) -> None:
    lost = {"messages": []}
    alone = prepare(ChatCorpus([CHAT, lost], {"easy": [CHAT], "hard": [lost, CHAT]}), byte_tokenizer())
    of_two = "1 of 2 rows not used: no messages; the first is row"
    assert alone.lines() == [
        f"{of_two} 1 (column messages is empty)",
        f"held-out set hard: {of_two} 0 (column messages is empty)",
    ]
    mixture = Mixture({"a": ChatCorpus([CHAT], [CHAT, lost]), "b": ChatCorpus([lost, CHAT])})
    assert prepare(mixture, byte_tokenizer()).lines() == [
        f"b: {of_two} 0 (column messages is empty)",
        f"held-out set a: {of_two} 1 (column messages is empty)",
    ]


def test_what_is_kept_is_used(
    byte_tokenizer: Callable[..., Any], own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = ChatCorpus([CHAT, {"messages": []}])
    first = prepare(corpus, byte_tokenizer())
    monkeypatch.setattr(prepare_module.Pool, "examples", None)
    second = prepare(corpus, byte_tokenizer())
    assert _ids(first.train) == _ids(second.train)
    assert second.report.dropped["no messages"].first == [(1, "column messages is empty")]
    assert first.train.facts == second.train.facts
    assert _entries(own_cache)


def test_max_length_and_packing_encode_nothing_anew(byte_tokenizer: Callable[..., Any], own_cache: Path) -> None:
    for max_length, packing in ((8, "greedy"), (9, "best_fit"), (1024, "none")):
        prepare(TextCorpus(["abc" * 10], max_length=max_length, packing=packing), byte_tokenizer())
    assert len(_entries(own_cache)) == 1


def test_a_damaged_entry_is_made_again(byte_tokenizer: Callable[..., Any], own_cache: Path) -> None:
    corpus = TextCorpus(["one", "two"])
    whole = _ids(prepare(corpus, byte_tokenizer()).train)
    (entry,) = _entries(own_cache)
    ids = own_cache / entry / "ids-0"
    content = bytearray(ids.read_bytes())
    content[0] ^= 1
    ids.write_bytes(content)
    assert _ids(prepare(corpus, byte_tokenizer()).train) == whole
    assert ids.read_bytes() != content


@given(before=st.text(min_size=1), after=st.text(min_size=1))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_an_edited_file_is_always_read_again(
    byte_tokenizer: Callable[..., Any], tmp_path: Path, before: str, after: str
) -> None:
    path = tmp_path / "a.jsonl"
    tokenizer = byte_tokenizer(extra=("x",))
    found = []
    for text in (before, after):
        row = {"text": f"- {text}"}
        path.write_text(json.dumps(row) + "\n", encoding="utf-8")
        os.utime(path, (1, 1))
        split = prepare(TextCorpus(file_rows([str(path)]), packing="none"), tokenizer).train
        found.append(_ids(split))
        assert found[-1] == [[*tokenizer.backend_tokenizer.encode(row["text"]).ids, 2]]
    assert (found[0] == found[1]) == (before == after)


def _changed_tokenizers(make: Callable[..., Any]) -> dict[str, Any]:
    other_end = make()
    other_end.eos_token_id = 0
    other_name = make()
    other_name.special_tokens_map = {**other_name.special_tokens_map, "bos_token": "<s>"}
    return {
        "the same": make(),
        "a comment more in the template": make(make().chat_template + "{# #}"),
        "another template": make("{% for m in messages %}{{ m['content'] + '<|im_end|>' }}{% endfor %}"),
        "one more token": make(extra=("why",)),
        "another name of a token": other_name,
        "another end": other_end,
    }


def test_an_edited_template_or_tokenizer_always_encodes_again(
    byte_tokenizer: Callable[..., Any], own_cache: Path
) -> None:
    seen: dict[frozenset[str], str] = {}
    for what, tokenizer in _changed_tokenizers(byte_tokenizer).items():
        before = _entries(own_cache)
        prepare(ChatCorpus([CHAT]), tokenizer)
        seen[frozenset(_entries(own_cache) - before)] = what
    # The end of a document is not asked for in conversations.
    assert frozenset() in seen
    assert seen.pop(frozenset()) == "another end"
    assert len(seen) == 5
    before = _entries(own_cache)
    tokenizers = _changed_tokenizers(byte_tokenizer)
    for what in ("the same", "another end", "one more token"):
        prepare(TextCorpus(["why"]), tokenizers[what])
    assert len(_entries(own_cache) - before) == 3


@pytest.mark.parametrize(
    "changes",
    [
        {"train_on": "all"},
        {"train_on": "last"},
        {"special_in_messages": True},
        {"template": "chatml"},
        {"tags": {"user": ["someone"]}},
        {"columns": {"tools": "other"}, "format": "messages"},
    ],
)
def test_every_option_makes_its_own_entry(
    byte_tokenizer: Callable[..., Any], own_cache: Path, changes: dict[str, Any]
) -> None:
    if "template" in changes:
        pytest.importorskip("transformers")
    rows = [{**CHAT, "other": None}]
    prepare(ChatCorpus(rows), byte_tokenizer())
    prepare(ChatCorpus(rows, **changes), byte_tokenizer())
    assert len(_entries(own_cache)) == 2


def test_other_code_makes_its_own_entry(
    byte_tokenizer: Callable[..., Any], own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(TextCorpus(["one"]), byte_tokenizer())
    monkeypatch.setattr(prepare_module, "_code", lambda: "changed")
    prepare(TextCorpus(["one"]), byte_tokenizer())
    assert len(_entries(own_cache)) == 2


def test_held_out_sets_have_names(byte_tokenizer: Callable[..., Any]) -> None:
    sets = {"easy": [CHAT], "hard": [CHAT, CHAT]}
    made = prepare(ChatCorpus([CHAT], sets), byte_tokenizer())
    assert {name: len(split) for name, split in made.held_out.items()} == {"easy": 1, "hard": 2}
    assert prepare(ChatCorpus([CHAT]), byte_tokenizer()).held_out == {}
    with pytest.raises(DataError, match="the held-out set hard has no rows"):
        prepare(ChatCorpus([CHAT], {"hard": []}), byte_tokenizer())


def test_a_mixture_is_prepared_part_by_part(byte_tokenizer: Callable[..., Any]) -> None:
    mixture = Mixture(
        {
            "talk": ChatCorpus([CHAT] * 3, [CHAT]),
            "text": TextCorpus(["one", "two"], {"odd": ["three"]}, packing="none"),
        },
        {"talk": 1, "text": 3},
    )
    made = prepare(mixture, byte_tokenizer())
    assert list(made.held_out) == ["talk", "text/odd"]
    assert [part.source for part in made.train.parts.values()] == [0, 1]
    assert (len(made.train), made.train.max_length, made.train.packed) == (5, 1024, False)
    assert made.report.rows == 5


def test_a_stream_is_not_read_beforehand(byte_tokenizer: Callable[..., Any], tmp_path: Path, own_cache: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(CHAT) + "\n")
    made = prepare(ChatCorpus(file_rows([str(path)], streaming=True)), byte_tokenizer())
    assert not own_cache.exists()
    assert (made.train.max_length, made.train.packed, made.report.rows) == (1024, False, 0)
    feed = made.train.feed(0)
    (split, number), *_ = feed.take(feed.start(), 1)[0]
    assert split.gather(np.array([number])).learned.sum() == 3
    feed.close()


def test_rows_that_are_not_used_are_named_with_their_place(byte_tokenizer: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    rows = [CHAT, {"messages": []}, {"messages": [{"role": "user", "content": "?"}]}]
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n")
    report = prepare(ChatCorpus(file_rows([str(path)])), byte_tokenizer()).report
    assert report.rows == 3
    assert report.examples == 1
    assert report.lines() == [
        f"1 of 3 rows not used: no messages; the first is row 1 ({path}:2: column messages is empty)",
        f"1 of 3 rows not used: nothing to learn; the first is row 2 ({path}:3: no assistant turn)",
    ]


def test_rows_kept_from_a_file_of_another_name_are_named_in_the_file_that_is_read(
    byte_tokenizer: Callable[..., Any], tmp_path: Path
) -> None:
    path = tmp_path / "first.jsonl"
    path.write_text("\n" + json.dumps(CHAT) + "\n\n" + json.dumps({"messages": []}) + "\n")
    for name in ("first.jsonl", "second.jsonl"):
        path = path.rename(tmp_path / name)
        (found,) = prepare(ChatCorpus(file_rows([str(path)])), byte_tokenizer()).lines()
        assert found.endswith(f"the first is row 1 ({path}:4: column messages is empty)")


@pytest.mark.parametrize(
    ("overflow", "said"),
    [("drop", "not used: longer than 64 tokens"), ("truncate", "used in part: cut to 64 tokens")],
)
def test_rows_that_are_too_long_are_named_with_their_place(
    byte_tokenizer: Callable[..., Any], tmp_path: Path, overflow: Any, said: str
) -> None:
    path = tmp_path / "a.jsonl"
    long = {"messages": [CHAT["messages"][0], {"role": "assistant", "content": "w" * 90}]}
    path.write_text("\n\n" + json.dumps(CHAT) + "\n" + json.dumps(long) + "\n")
    (found,) = prepare(ChatCorpus(file_rows(str(path)), max_length=64, overflow=overflow), byte_tokenizer()).lines()
    assert found.startswith(f"1 of 2 rows {said}; the first is row 1 ({path}:4: ")


REFUSES = "{% if messages[0]['content'] == 'bad' %}{{ raise_exception('no bad words') }}{% endif %}"


def _rows(*contents: str) -> list[dict[str, Any]]:
    return [
        {"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": "yes"}]} for text in contents
    ]


def test_a_row_that_the_template_refuses_is_counted_and_named(byte_tokenizer: Callable[..., Any]) -> None:
    tokenizer = byte_tokenizer(REFUSES + byte_tokenizer().chat_template)
    report = prepare(ChatCorpus(_rows("good", "good", "bad")), tokenizer).report
    assert report.lines() == [
        "1 of 3 rows not used: the template refuses the conversation; the first is row 2 (no bad words)"
    ]


@pytest.mark.parametrize(
    ("corpus", "message"),
    [
        (TextCorpus([]), "the dataset has no rows"),
        (TextCorpus(["", " "]), "the dataset has nothing to learn: 2 of 2 rows not used: an empty document"),
        (TextCorpus([{"body": "a"}]), "no column text; the first is row 0 .the row has body.\n.*dataset.column"),
        (TextCorpus(["a" * 20], max_length=8, overflow="drop"), "nothing to learn: .* longer than 8 tokens"),
        (ChatCorpus([]), "the dataset has no rows"),
        (ChatCorpus([{"x": 1}]), "rows with the columns x have no known format"),
        (ChatCorpus([{"x": 1}], column="messages"), "rows with the columns x have no known format"),
        (ChatCorpus([CHAT], columns={"mesages": "x"}), "columns has no part 'mesages' .did you mean 'messages'"),
        (ChatCorpus([CHAT], tags={"usr": ["x"]}), "tags has no key 'usr' .did you mean 'user'"),
        (ChatCorpus([CHAT], format="alpaca"), "rows of the format alpaca have a column instruction"),
        (ChatCorpus([CHAT], format="vicuna"), "format is one of .*, not 'vicuna'"),
        (ChatCorpus(["text"]), "row 0 is str, not a mapping of columns"),
        (ChatCorpus(_rows("bad"), overflow="drop", max_length=8), "nothing to learn: .* longer than 8 tokens"),
        (
            ChatCorpus(_rows("w" * 90), max_length=8),
            "nothing to learn in the first 8 tokens(.|\n)*raise dataset.max_length",
        ),
        (
            ChatCorpus([{"messages": [{"role": "user", "content": "a"}]}]),
            "nothing to learn: 1 of 1 rows not used: nothing to learn; the first is row 0 .no assistant turn.\n.*dataset.train_on",
        ),
        (Mixture({"one": TextCorpus([])}), "the dataset one has no rows"),
        (TextCorpus(["a"], [""]), "the held-out set held_out has nothing to learn"),
    ],
)
def test_data_that_cannot_be_used_is_one_clear_error(
    byte_tokenizer: Callable[..., Any], corpus: Any, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        prepare(corpus, byte_tokenizer())


def test_all_rows_refused_by_the_template_are_an_error_that_names_the_first(byte_tokenizer: Callable[..., Any]) -> None:
    tokenizer = byte_tokenizer(REFUSES + byte_tokenizer().chat_template)
    with pytest.raises(DataError, match=r"the template refuses the conversation; the first is row 0 \(no bad words\)"):
        prepare(ChatCorpus(_rows("bad", "bad")), tokenizer)


def test_a_conversation_without_a_template_is_an_error(byte_tokenizer: Callable[..., Any]) -> None:
    with pytest.raises(DataError, match=r"nothing to learn: .* no chat template"):
        prepare(ChatCorpus([CHAT]), byte_tokenizer(None))


def test_a_tokenizer_may_have_several_templates(byte_tokenizer: Callable[..., Any]) -> None:
    tokenizer = byte_tokenizer()
    one = _ids(prepare(ChatCorpus([CHAT]), tokenizer).train)
    tokenizer.chat_template = {"default": tokenizer.chat_template, "tool_use": "{{ 1 }}"}
    assert _ids(prepare(ChatCorpus([CHAT]), tokenizer).train) == one


def test_a_slow_tokenizer_is_refused() -> None:
    with pytest.raises(DataError, match="cannot prepare data"):
        prepare(TextCorpus(["a"]), SimpleNamespace())


def test_rows_of_text_in_a_chat_corpus_are_documents(byte_tokenizer: Callable[..., Any]) -> None:
    rows = [{"text": "abc"}]
    chat, text = prepare(ChatCorpus(rows), byte_tokenizer()), prepare(TextCorpus(rows), byte_tokenizer())
    assert _ids(chat.train) == _ids(text.train)


def test_progress_is_told_while_rows_are_read(byte_tokenizer: Callable[..., Any]) -> None:
    told: list[tuple[str, int]] = []
    texts = [f"progress {number}" for number in range(250)]
    prepare(TextCorpus(texts), byte_tokenizer(), progress=lambda what, rows: told.append((what, rows)))
    assert told == [("the dataset", 100), ("the dataset", 200)]


def test_rows_that_change_while_they_are_read_are_not_kept(
    byte_tokenizer: Callable[..., Any], tmp_path: Path, own_cache: Path
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "abc"}\n' * 100)
    corpus = TextCorpus(file_rows([str(path)]))
    with pytest.raises(DataError, match="the dataset has changed while it was read"):
        prepare(corpus, byte_tokenizer(), progress=lambda *_: path.write_text('{"text": "abd"}\n' * 100))
    assert not list(own_cache.glob("*/facts.json"))


def test_empty_files_say_which(byte_tokenizer: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("\n")
    with pytest.raises(DataError, match=r"the dataset has no rows: there is none in .*a\.jsonl"):
        prepare(TextCorpus(file_rows([str(tmp_path / "a.jsonl")])), byte_tokenizer())
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(DataError, match="an empty document"):
        prepare(TextCorpus(text_files([str(tmp_path / "a.txt")])), byte_tokenizer())


@pytest.fixture
def pydoc_text(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(os.path.join(shipped_projects(), "pydoc", "src"))
    yield pytest.importorskip("pydoc_text")
    for name in [name for name in sys.modules if name.partition(".")[0] == "pydoc_text"]:
        del sys.modules[name]


@pytest.mark.torch
@pytest.mark.slow
def test_the_pydoc_data_fills_its_sequences(pydoc_text: Any) -> None:
    pytest.importorskip("transformers")
    from forge.ml.data.tokenizer import train_bpe

    documents = TextCorpus(pydoc_text.documents(), max_length=256)
    tokenizer = train_bpe(documents, 4096)
    conversations = ChatCorpus(pydoc_text.question_answers(), packing="best_fit", max_length=1024)
    made = prepare(conversations, tokenizer)
    assert made.report.rows == made.report.examples > 3000
    assert made.train.efficiency >= 0.99
    assert prepare(documents, tokenizer).train.efficiency >= 0.99
