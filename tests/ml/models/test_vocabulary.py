"""Tokens and embeddings: as many of one as of the other, or a clear word."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from families import tiny_config

from forge.base.errors import ModelError

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
causal = pytest.importorskip("forge.ml.models.causal")
vocabulary = pytest.importorskip("forge.ml.models.vocabulary")

ROWS = 96


class _Tokens:
    """A tokenizer that has these ids."""

    def __init__(self, *ids: int) -> None:
        self.ids = ids

    def get_vocab(self) -> dict[str, int]:
        return {f"t{number}": number for number in self.ids}


def _saved(family: str, folder: Path) -> Any:
    model = causal.causal_lm(tiny_config(family))
    model.save_pretrained(folder)
    return model


def test_a_tokenizer_with_more_tokens_is_refused_with_both_sizes_and_the_setting() -> None:
    model = causal.causal_lm(tiny_config("llama"))
    with pytest.raises(ModelError, match="the tokenizer has 98 tokens, and the model has embeddings for 96") as caught:
        vocabulary.check_vocabulary(model, _Tokens(0, 97))
    assert "model.resize_to=98" in str(caught.value)


def test_embeddings_without_a_token_are_padding() -> None:
    with causal.deferred_weights():
        model = causal.causal_lm(tiny_config("llama"))
    vocabulary.check_vocabulary(model, _Tokens(0, 95))
    vocabulary.check_vocabulary(model, _Tokens(0, 7))
    vocabulary.check_vocabulary(model, _Tokens())


@pytest.mark.parametrize("family", ["llama", "llama-tied", "gpt2", "phi", "mixtral"])
def test_new_embeddings_are_the_mean_of_the_old_ones(family: str, tmp_path: Path) -> None:
    before = _saved(family, tmp_path)
    with causal.deferred_weights():
        model = causal.causal_lm(path=str(tmp_path), resize_to=104)
    assert len(model.get_input_embeddings().weight) == 104
    model = causal.materialise(model)
    assert model.config.vocab_size == 104
    for kind in ("get_input_embeddings", "get_output_embeddings"):
        old, new = getattr(before, kind)(), getattr(model, kind)()
        for name, tensor in old.named_parameters():
            grown = getattr(new, name)
            assert grown.shape == (104, *tensor.shape[1:])
            assert torch.equal(grown[:ROWS], tensor)
            torch.testing.assert_close(grown[ROWS:], tensor.mean(0, keepdim=True).expand_as(grown[ROWS:]))
    tied = model.get_input_embeddings().weight is model.get_output_embeddings().weight
    assert tied is bool(before.config.tie_word_embeddings)
    assert model(torch.tensor([[3, 103]])).logits.shape == (1, 2, 104)


def test_as_many_embeddings_as_there_are_change_nothing(tmp_path: Path) -> None:
    before = _saved("llama", tmp_path).state_dict()
    after = causal.causal_lm(path=str(tmp_path), resize_to=ROWS).state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


def test_embeddings_only_grow_and_only_those_of_a_folder(tmp_path: Path) -> None:
    _saved("llama", tmp_path)
    with pytest.raises(ModelError, match="resize_to is 90, and the model has 96 embeddings"):
        causal.causal_lm(path=str(tmp_path), resize_to=90)
    with pytest.raises(ValueError, match=r"set config\.vocab_size"):
        causal.causal_lm(tiny_config("llama"), resize_to=104)


def test_more_rows_in_the_files_than_asked_for_are_refused(tmp_path: Path) -> None:
    _saved("llama", tmp_path)
    config = tiny_config("llama")
    config.vocab_size = 80
    with pytest.raises(ModelError, match="is 96 x 32 in its files, and 90 x 32 in the model"):
        causal.causal_lm(config, path=str(tmp_path), resize_to=90)
