"""Tokenizers, trained and read."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge.base.errors import DataError, ForgeError, ModelError
from forge.ml.data.corpus import TextCorpus

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.torch
tokenizer = pytest.importorskip("forge.ml.data.tokenizer")

CORPUS = TextCorpus(train=("the quick brown fox jumps over the lazy dog, and the dog jumps over the fox. " * 5,))


@pytest.fixture(scope="module")
def trained() -> Any:
    return tokenizer.train_bpe(CORPUS, 280)


def test_the_vocabulary_has_the_asked_size(trained: Any) -> None:
    assert len(trained) == trained.vocab_size == 280


def test_special_tokens_come_first(trained: Any) -> None:
    ids = (trained.pad_token_id, trained.bos_token_id, trained.eos_token_id)
    assert ids == (0, 1, 2)


def test_the_same_text_gives_the_same_tokenizer(trained: Any) -> None:
    assert tokenizer.train_bpe(CORPUS, 280).backend_tokenizer.to_str() == trained.backend_tokenizer.to_str()


@given(text=st.text(max_size=80))
def test_every_text_comes_back_as_it_was(trained: Any, text: str) -> None:
    ids = trained(text, add_special_tokens=False).input_ids
    assert trained.decode(ids, clean_up_tokenization_spaces=False) == text


def test_a_chat_is_rendered_with_whole_special_tokens(trained: Any) -> None:
    text = trained.apply_chat_template([{"role": "user", "content": "fox"}], tokenize=False, add_generation_prompt=True)
    assert text == "<|im_start|>user\nfox<|im_end|>\n<|im_start|>assistant\n"
    ids = trained(text).input_ids
    assert ids.count(trained.bos_token_id) == 2
    assert ids.count(trained.eos_token_id) == 1


def test_a_vocabulary_too_small_for_bytes_is_refused() -> None:
    with pytest.raises(ValueError, match="vocab_size is at least 259"):
        tokenizer.train_bpe(CORPUS, 200)


def test_a_vocabulary_too_large_for_the_text_is_refused_with_the_size_that_fits() -> None:
    with pytest.raises(ValueError, match="lower vocab_size to") as caught:
        tokenizer.train_bpe(CORPUS, 4096)
    fitting = int(str(caught.value).rsplit(maxsplit=1)[-1])
    assert len(tokenizer.train_bpe(CORPUS, fitting)) == fitting


def test_a_saved_tokenizer_is_read_back_with_another_template(trained: Any, tmp_path: Path) -> None:
    trained.save_pretrained(tmp_path)
    assert tokenizer.pretrained(str(tmp_path)).chat_template == trained.chat_template
    changed = tokenizer.pretrained(str(tmp_path), chat_template="alpaca", special_tokens={"unk_token": "<|unk|>"})
    assert "### Instruction" in changed.chat_template
    assert changed.unk_token == "<|unk|>"  # noqa: S105 - a token of text


def test_a_folder_that_is_not_there_is_refused() -> None:
    with pytest.raises(ModelError, match="no model folder nowhere"):
        tokenizer.pretrained("nowhere")


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"tokenizer.json": "{"},
        {"tokenizer.json": "{}", "tokenizer_config.json": "{}"},
        {"tokenizer_config.json": '{"auto_map": {"AutoTokenizer": ["code.T", null]}}', "code.py": "raise SystemExit"},
    ],
)
def test_a_folder_without_a_sound_tokenizer_says_so_in_two_lines(files: dict[str, str], tmp_path: Path) -> None:
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    with pytest.raises(ModelError, match="has no tokenizer that can be read") as caught:
        tokenizer.pretrained(str(tmp_path))
    assert str(caught.value).count("\n") == 1
    assert "tokenizer.path" in str(caught.value)


def test_a_template_is_a_short_text(tmp_path: Path) -> None:
    path = tmp_path / "own.jinja"
    path.write_text("{{ messages }}")
    assert tokenizer.template_text(str(path)) == "{{ messages }}"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match="is not UTF-8 text"):
        tokenizer.template_text(str(path))
    path.write_bytes(b"x" * (2 << 20))
    with pytest.raises(ForgeError, match="larger than"):
        tokenizer.template_text(str(path))
    with pytest.raises(FileNotFoundError, match="no chat template chatnl"):
        tokenizer.template_text("chatnl")


def test_a_tokenizer_that_is_trained_needs_no_torch() -> None:
    code = "import sys; import forge.ml.data.tokenizer; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
