from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("tokenizers")
import tokenizers

from forge.ml.chat.conversation import Conversation, RowError
from forge.ml.chat.special import AliasTokenizer, SpecialTokens, revealed

SPECIAL = ["<s>", "</s>", "<end>"]
TEXTS = st.lists(
    st.sampled_from(["hello", " world", " ", "  ", "\n", "<s>", "</s>", "<end>", "<tool>", "é", "<", "s>", "x"]),
    max_size=8,
).map("".join)


def _byte_level(prefix: bool = False) -> Any:  # noqa: FBT001, FBT002
    found = tokenizers.Tokenizer(tokenizers.models.BPE())
    found.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=300, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    found.train_from_iterator(["hello world hello world"], trainer)
    return found


def _sentence_pieces(scheme: str) -> Any:
    """As Llama 2 has it: the special tokens are in the model's own vocabulary, and spaces are written as a letter."""
    pieces = ["<unk>", "<s>", "</s>", "▁", "h", "e", "l", "o", "w", "r", "d", "x", "<", ">", "s", "he", "▁he", "▁w"]
    vocabulary = {piece: number for number, piece in enumerate(pieces)} | {f"<0x{n:02X}>": 100 + n for n in range(256)}
    merges = [("h", "e"), ("▁", "he"), ("▁", "w")]
    model = tokenizers.models.BPE(vocabulary, merges, unk_token=pieces[0], fuse_unk=True, byte_fallback=True)
    found = tokenizers.Tokenizer(model)
    found.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False)
    found.add_special_tokens(["<s>", "</s>", tokenizers.AddedToken("<end>", rstrip=True)])
    return found


def _tokenizers() -> dict[str, Any]:
    found = {
        "bytes": _byte_level(),
        "bytes after a space": _byte_level(prefix=True),
        "pieces": _sentence_pieces("first"),
        "every piece": _sentence_pieces("always"),
    }
    for tokenizer in found.values():
        tokenizer.add_tokens(["<tool>"])
    return found


TOKENIZERS = _tokenizers()
ALIASED = {name: AliasTokenizer(found, SpecialTokens(found)) for name, found in TOKENIZERS.items()}


def _said(*texts: str) -> Conversation:
    return Conversation([{"role": "user", "content": text} for text in texts])


@pytest.mark.parametrize("name", TOKENIZERS)
@settings(max_examples=150, deadline=None)
@given(text=TEXTS)
def test_where_nothing_is_hidden_the_tokens_are_the_tokenizers_own(name: str, text: str) -> None:
    _, ids, _, _ = ALIASED[name].read(text, {}, [])
    assert ids == TOKENIZERS[name].encode(text, add_special_tokens=False).ids


@pytest.mark.parametrize("name", TOKENIZERS)
@settings(max_examples=150, deadline=None)
@given(said=TEXTS)
def test_what_is_hidden_is_text(name: str, said: str) -> None:
    special = SpecialTokens(TOKENIZERS[name])
    hidden, codes = special.hidden(_said(said))
    content = hidden.messages[0]["content"]
    assert revealed(content, codes) == said
    text = f"<s>{content}</s>"
    encoding, ids, aliased, parts = ALIASED[name].read(text, codes, [(3, 3 + len(content))])
    assert [number for number in ids if number in special.numbers] == [
        special.tokens["<s>"][0],
        special.tokens["</s>"][0],
    ]
    assert [aliased[start:stop] for start, stop in parts] == [said]
    assert len(encoding) == len(ids)


def test_special_tokens_are_found_in_every_corner_of_a_conversation() -> None:
    special = SpecialTokens(TOKENIZERS["bytes"])
    call = {"function": {"name": "f", "arguments": {"a": ["<end>"]}}}
    assert not special.in_conversation(
        Conversation([{"role": "user", "content": "<tool> < s>", "name": "x"}], [{"a": 1}])
    )
    assert special.in_conversation(_said("hello", "wor</s>ld"))
    assert special.in_conversation(Conversation([{"role": "assistant", "content": "", "tool_calls": [call]}]))
    assert special.in_conversation(Conversation([{"role": "assistant", "content": ""}], [{"<s>": 1}]))
    assert special.in_conversation(Conversation([{"role": "assistant", "content": ""}], variables={"a": "<s>"}))


def test_a_conversation_is_hidden_whole_and_stays_as_it_was() -> None:
    special = SpecialTokens(TOKENIZERS["bytes"])
    talk = Conversation([{"role": "user", "content": "<s><end><s>"}], [{"name": "</s>"}], variables={"n": 1})
    hidden, codes = special.hidden(talk)
    assert hidden.messages[0]["content"] == "\ud800\ud801\ud800"
    assert hidden.tools == [{"name": "\ud802"}]
    assert list(codes.values()) == ["<s>", "<end>", "</s>"]
    assert talk.messages[0]["content"] == "<s><end><s>"


@pytest.mark.parametrize(
    ("after", "part", "whole_turn", "closed"),
    [
        ("</s>\n<s>", "world</s>\n", True, "world</s>"),  # white space behind the end is nobody's
        ("\n<s>", "world\n", True, "world\n"),  # without an end it belongs to the turn
        ("</s>\n<s>", "world</s>\n", False, "world</s>\n"),  # a mark is believed
        ("</s>\n<s>", "world", False, "world</s>"),  # but for the end that it leaves out
        ("</s><s>", "world</s>", False, "world</s>"),
        ("<s>", "world", True, "world"),
    ],
)
def test_a_part_goes_to_the_end_of_its_turn(after: str, part: str, whole_turn: bool, closed: str) -> None:  # noqa: FBT001
    text = f"<s>hello world{after}"
    start = text.index("world")
    found = SpecialTokens(TOKENIZERS["bytes"]).closed(text, (start, start + len(part)), whole_turn=whole_turn)
    assert text[slice(*found)] == closed


def test_a_turn_that_is_followed_by_the_next_is_not_closed_by_its_beginning() -> None:
    text = "hello</s><s>"
    assert SpecialTokens(TOKENIZERS["bytes"]).closed(text, (0, 9), whole_turn=False) == (0, 9)


def test_a_tokenizer_that_cannot_tell_them_apart_is_refused() -> None:
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel({"[END]": 0, "hello": 1, "?": 2}, "?"))
    words.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    words.add_special_tokens(["[END]"])
    special = SpecialTokens(words)
    hidden, codes = special.hidden(_said("hello [END]"))
    with pytest.raises(RowError, match=r"makes \[END\] of plain text, too"):
        AliasTokenizer(words, special).read(hidden.messages[0]["content"], codes, [])


def test_a_text_with_the_names_in_disguise_is_refused() -> None:
    with pytest.raises(RowError, match="the text holds"):
        ALIASED["bytes"].read("<|forge-5b1d2c9e-1|>", {}, [])


def test_a_tokenizer_without_special_tokens_has_none_to_hide() -> None:
    plain = tokenizers.Tokenizer(tokenizers.models.BPE())
    special = SpecialTokens(plain)
    assert not special.in_conversation(_said("<s>"))
    assert special.closed("ab", (0, 1), whole_turn=False) == (0, 1)
