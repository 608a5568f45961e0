from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

TEMPLATES = Path(__file__).parents[3] / "chat_templates"
SPECIAL = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
MORE = ["<|im_start|>", "<|im_end|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
MORE += ["<start_of_turn>", "<end_of_turn>"]
WORDS = "the quick brown fox jumps over the lazy dog. user assistant system model instruction response hello world " * 3


@pytest.fixture(scope="session")
def special_tokens() -> dict[str, str]:
    return dict(SPECIAL)


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    """A byte-level BPE tokenizer that knows the special tokens of all shipped templates, and one token that is not special."""
    tokenizers = pytest.importorskip("tokenizers")
    pytest.importorskip("jinja2")
    found = tokenizers.Tokenizer(tokenizers.models.BPE())
    found.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    found.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=[*SPECIAL.values(), *MORE],
        initial_alphabet=sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    found.train_from_iterator([WORDS], trainer)
    found.add_tokens(["<tool_call>"])
    return found


@pytest.fixture(scope="session")
def shipped() -> dict[str, str]:
    """The text of every shipped template, by its name."""
    return {path.stem: path.read_text(encoding="utf-8") for path in sorted(TEMPLATES.glob("*.jinja"))}


@pytest.fixture(scope="session")
def encoder(tokenizer: Any, special_tokens: dict[str, str], shipped: dict[str, str]) -> Callable[..., Any]:
    """Gives a row encoder for a shipped template, or for the text of another one."""
    from forge.ml.chat.encode import Recipe, RowEncoder
    from forge.ml.chat.formats import RowFormat

    @functools.cache
    def make(template: str | None, name: str = "messages", **settings: Any) -> Any:
        text = shipped.get(template, template) if template is not None else None
        return RowEncoder(Recipe(RowFormat(name), text, special_tokens, **settings), tokenizer)

    return make
