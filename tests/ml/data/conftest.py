"""A tokenizer of bytes: small, exact, and made without transformers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def _byte_tokenizer(template: str | None = CHATML, extra: tuple[str, ...] = ()) -> Any:
    tokenizers = pytest.importorskip("tokenizers")
    vocabulary = {"<|pad|>": 0, "<|im_start|>": 1, "<|im_end|>": 2}
    letters = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    vocabulary |= {letter: number for number, letter in enumerate(letters, start=len(vocabulary))}
    backend = tokenizers.Tokenizer(tokenizers.models.BPE(vocabulary, []))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = tokenizers.decoders.ByteLevel()
    backend.add_special_tokens(["<|pad|>", "<|im_start|>", "<|im_end|>", *extra])
    return SimpleNamespace(
        backend_tokenizer=backend,
        eos_token_id=2,
        chat_template=template,
        special_tokens_map={"bos_token": "<|im_start|>", "eos_token": "<|im_end|>", "pad_token": "<|pad|>"},
    )


@pytest.fixture(scope="session")
def byte_tokenizer() -> Callable[..., Any]:
    """Makes a tokenizer with a token for each byte, and 0, 1, 2 for padding, the beginning and the end of a turn."""
    return _byte_tokenizer


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache that is empty; the folder of its entries."""
    monkeypatch.setenv("FORGE_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "data"
