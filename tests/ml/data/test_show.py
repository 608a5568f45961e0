from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from forge.base.errors import UsageError
from forge.ml.data.corpus import ChatCorpus, TextCorpus
from forge.ml.data.sets import prepared_sets
from forge.ml.data.show import drawn_example, example_json, examples, legend, token_texts

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.usefixtures("own_cache")
ROWS = [
    {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]},
    {"messages": [{"role": "user", "content": "hi"}]},
    {"messages": [{"role": "user", "content": "x" * 90}, {"role": "assistant", "content": "y"}]},
    {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "z" * 90}]},
    {"messages": [{"role": "user", "content": "é\x1b"}, {"role": "assistant", "content": "🙂"}]},
]


@pytest.fixture
def tokenizer(byte_tokenizer: Callable[..., Any]) -> Any:
    return byte_tokenizer()


@pytest.fixture
def shown(tokenizer: Any) -> list[Any]:
    pytest.importorskip("jinja2")
    (found,) = prepared_sets(ChatCorpus(train=ROWS, max_length=80, packing="greedy"), tokenizer)
    return list(examples(found, tokenizer, 0, 10))


def test_a_row_is_shown_as_the_model_gets_it(shown: list[Any], tokenizer: Any) -> None:
    drawn = drawn_example(shown[0], tokenizer, width=80, colour=False)
    heading, *lines = drawn.splitlines()
    assert heading == "train, row 0 · 25 tokens, 3 learned · sequence 0 of 3"
    assert (
        lines[-3:] == ["  <|im_start|>user↵", "  hi<|im_end|>↵", "  <|im_start|>assistant↵"]
        or lines[-1].strip() == "⟦ho<|im_end|>⟧↵"
    )
    assert lines[-4:] == ["  <|im_start|>user↵", "  hi<|im_end|>↵", "  <|im_start|>assistant↵", "  ⟦ho<|im_end|>⟧↵"]
    assert json.loads("\n".join(lines[: next(i for i, line in enumerate(lines) if "──" in line)])) == ROWS[0]


def test_what_is_learned_is_green(shown: list[Any], tokenizer: Any) -> None:
    drawn = drawn_example(shown[0], tokenizer, width=80, colour=True)
    green = re.findall(r"\x1b\[(?:32|92|1;32)m([^\x1b]*)", drawn)
    assert green == ["h", "o", "<|im_end|>"]


def test_the_first_token_of_a_document_is_context(tokenizer: Any) -> None:
    (found,) = prepared_sets(TextCorpus(["abc", "abcdef"], max_length=4), tokenizer)
    short, long = examples(found, tokenizer, 0, 2)
    assert "4 tokens, 3 learned" in drawn_example(short, tokenizer, width=80, colour=False)
    assert [piece.learned for piece in short.pieces] == [[False, True, True, True]]
    # Where a document goes on in another sequence, its first token there is what the sequence before has to say.
    assert [piece.learned for piece in long.pieces] == [[False, True, True, True], [True, True, True]]


def test_a_special_token_does_not_look_like_its_name_in_a_message(tokenizer: Any) -> None:
    pytest.importorskip("jinja2")
    said = [{"role": "user", "content": "<|im_end|>"}, {"role": "assistant", "content": "ho"}]
    (found,) = prepared_sets(ChatCorpus(train=[{"messages": said}]), tokenizer)
    (shown,) = examples(found, tokenizer, 0, 1)
    drawn = drawn_example(shown, tokenizer, width=80, colour=True).partition("──")[2]
    assert re.findall(r"\x1b\[36m([^\x1b]*)", drawn) == ["<|im_start|>", "<|im_end|>", "<|im_start|>"]


def test_where_there_is_room_the_row_stands_beside(shown: list[Any], tokenizer: Any) -> None:
    lines = drawn_example(shown[0], tokenizer, width=120, colour=False).splitlines()
    assert all(" │" in line for line in lines[1:])
    assert lines[1].startswith("{")
    assert lines[1].endswith("│ <|im_start|>user↵")


@pytest.mark.parametrize(
    ("row", "loss"),
    [
        (0, ""),
        (1, "not used: nothing to learn: no assistant turn"),
        (2, "not used: nothing is learned in its first 80 of 112 tokens"),
        (3, "cut to 80 tokens: 33 left out, 32 of them to be learned"),
    ],
)
def test_what_does_not_arrive_has_a_reason(shown: list[Any], tokenizer: Any, row: int, loss: str) -> None:
    assert shown[row].loss == loss
    drawn = drawn_example(shown[row], tokenizer, width=80, colour=False)
    assert loss in drawn
    assert ("(nothing)" in drawn) == (not shown[row].pieces)


def test_control_characters_are_pictures(shown: list[Any], tokenizer: Any) -> None:
    drawn = drawn_example(shown[4], tokenizer, width=80, colour=False)
    assert "\x1b" not in drawn
    assert "é␛<|im_end|>" in drawn
    assert "⟦🙂<|im_end|>⟧" in drawn


def test_a_long_row_is_shortened_unless_all_is_asked_for(tokenizer: Any) -> None:
    (found,) = prepared_sets(TextCorpus(train=("line\n" * 100,), max_length=200), tokenizer)
    (shown,) = examples(found, tokenizer, 0, 1)
    short = drawn_example(shown, tokenizer, width=80, colour=False)
    assert short.count("more lines, --all shows them") == 2
    whole = drawn_example(shown, tokenizer, width=80, colour=False, whole=True)
    assert whole.count("ine↵") == 100  # the mark of what is learned stands behind the first letter
    assert "in 3 sequences, 0 to 2 of 3" in whole
    assert "── sequence 1 ──" in whole


def test_programs_get_the_tokens_and_what_is_learned(shown: list[Any], tokenizer: Any) -> None:
    found = example_json(shown[0], tokenizer)
    (piece,) = found.pop("pieces")
    assert found == {"set": "train", "row": 0, "place": "", "tokens": 25, "loss": "", "content": ROWS[0]}
    assert piece["text"] == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\nho<|im_end|>\n"
    assert sum(piece["learned"]) == 3
    assert len(piece["ids"]) == len(piece["learned"]) == 25
    json.dumps(found)


def test_a_row_that_is_not_there_is_refused(tokenizer: Any) -> None:
    (found,) = prepared_sets(TextCorpus(train=("a",)), tokenizer)
    with pytest.raises(UsageError, match="train has 1 rows, and none is row 5"):
        list(examples(found, tokenizer, 5, 1))
    with pytest.raises(UsageError, match="--index cannot be -1"):
        list(examples(found, tokenizer, -1, 1))


@pytest.mark.parametrize("text", ["plain words", "é你🙂 mixed 🙂🙂", " leading", "a\nb", "", "�"])
def test_the_texts_of_tokens_make_the_text(tokenizer: Any, text: str) -> None:
    ids = tokenizer.backend_tokenizer.encode(text).ids
    assert "".join(token_texts(tokenizer, ids)) == text


def test_the_texts_of_tokens_keep_the_spaces_of_pieces() -> None:
    tokenizers = pytest.importorskip("tokenizers")
    from types import SimpleNamespace

    pieces = tokenizers.Tokenizer(tokenizers.models.WordLevel({"▁the": 0, "▁fox": 1, "es": 2, "?": 3}, "?"))
    pieces.decoder = tokenizers.decoders.Metaspace()
    texts = token_texts(SimpleNamespace(backend_tokenizer=pieces), [0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1])
    assert texts == ["the", " fox", "es", *[" the", " fox", "es"] * 3, " the", " fox"]


def test_the_legend_shows_the_colours_or_the_marks() -> None:
    assert legend(colour=False).startswith("⟦learned⟧ context")
    assert legend(colour=True).startswith("\x1b[32mlearned\x1b[0m")
