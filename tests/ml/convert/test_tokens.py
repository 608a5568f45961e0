from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from forge.base.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.torch
pytest.importorskip("transformers")
tokens = pytest.importorskip("forge.ml.convert.tokens")


def _wanted(path: Path, text: str) -> list[tokens.WantedToken]:
    (path / "tokens.yaml").write_text(text)
    return tokens.read_wanted(str(path / "tokens.yaml"))


def test_a_file_says_what_each_token_is_and_begins_as(tmp_path: Path) -> None:
    text = """
eos_token: <|end|>
special_tokens: [<|a|>, {token: <|b|>, init: zero}]
regular_tokens: [{token: c, init: [x, y]}, {token: d, init: x}]
pad_token: {token: <|pad|>, if_missing: true}
"""
    token = tokens.WantedToken
    assert _wanted(tmp_path, text) == [
        token("<|end|>", "eos_token"),
        token("<|a|>"),
        token("<|b|>", init="zero"),
        token("c", special=False, init=("x", "y")),
        token("d", special=False, init=("x",)),
        token("<|pad|>", "pad_token", if_missing=True),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[a]", "it is to be a table"),
        ("{}", "asks for no tokens"),
        ("a: [", "is no YAML"),
        ("special_token: [a]", r"neither a list of tokens nor a role \(did you mean 'special_tokens'"),
        ("special_tokens: a", "special_tokens is to be a list of tokens"),
        ("special_tokens: [1]", "a token is a text, or a table"),
        ("special_tokens: [{token: ''}]", "a token is a text, or a table"),
        ("special_tokens: [{token: a, begin: b}]", "'begin' is none of token, init, if_missing"),
        ("special_tokens: [{token: a, init: 3}]", "init is mean, zero, a token or a list of tokens, not 3"),
        ("special_tokens: [{token: a, if_missing: true}]", "if_missing is true or false, and for a role"),
        ("pad_token: {token: a, if_missing: maybe}", "if_missing is true or false, and for a role"),
        ("special_tokens: [!!python/object/apply:os.system [ls]]", "is no YAML"),
    ],
)
def test_a_mistake_in_it_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        _wanted(tmp_path, text)
    assert "tokens.yaml" in str(caught.value)


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot read"):
        tokens.read_wanted(str(tmp_path / "none.yaml"))


def test_only_tokens_that_are_new_are_rows_to_learn(model_folder: Callable[..., Path], tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model_folder())
    text = (
        "special_tokens: [</s>, <|new|>, {token: <|like|>, init: [a, b]}]\neos_token: {token: <|e|>, if_missing: true}"
    )
    rows = tokens.add_tokens(tokenizer, _wanted(tmp_path, text))
    like = tuple(tokenizer.convert_tokens_to_ids(["a", "b"]))
    assert rows == [tokens.NewRow("<|new|>", 259, None), tokens.NewRow("<|like|>", 260, like)]
    assert "</s>" in tokenizer.special_tokens_map.values()
    assert tokenizer.decode([259], skip_special_tokens=True) == ""


def test_a_beginning_that_is_no_token_is_an_error(model_folder: Callable[..., Path], tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model_folder())
    wanted = _wanted(tmp_path, "special_tokens: [{token: <|new|>, init: <s}]")
    with pytest.raises(ModelError, match=r"<\|new\|> is to begin as '<s', which is no token(?s:.*)did you mean '<s>'"):
        tokens.add_tokens(tokenizer, wanted)
