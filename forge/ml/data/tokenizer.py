"""Tokenizers: one trained on the run's own text, or the one in a model's folder."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Protocol

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from forge.base.errors import DataError, ModelError
from forge.base.files import read_bounded
from forge.base.places import chat_templates

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from transformers import PreTrainedTokenizerBase

__all__ = ["Texts", "pretrained", "template_text", "train_bpe"]

_PADDING = "<|pad|>"
_LONGEST_TEMPLATE = 1 << 20


class Texts(Protocol):
    """Anything that has text to learn from."""

    def texts(self) -> Iterator[str]:
        """The texts, one after another."""


def train_bpe(
    dataset: Texts,
    vocab_size: int,
    *,
    bos_token: str = "<|im_start|>",  # noqa: S107 - a token of text, no password
    eos_token: str = "<|im_end|>",  # noqa: S107 - as above
    pad_token: str = _PADDING,
    additional_special_tokens: Sequence[str] = (),
    min_frequency: int = 2,
    model_max_length: int = 1024,
    chat_template: str | None = "chatml",
) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer on the texts of a dataset: the same texts give the same tokenizer."""
    special = list(dict.fromkeys([pad_token, bos_token, eos_token, *additional_special_tokens]))
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    if vocab_size < len(special) + len(alphabet):
        raise ValueError(
            f"vocab_size is at least {len(special) + len(alphabet)} (special tokens and bytes), not {vocab_size}"
        )
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=min_frequency,
        special_tokens=special,
        initial_alphabet=sorted(alphabet),
        show_progress=False,
    )
    tokenizer.train_from_iterator(dataset.texts(), trainer)
    found = tokenizer.get_vocab_size()
    if found != vocab_size:
        raise ValueError(
            f"the texts hold only {found} tokens that occur {min_frequency} times: lower vocab_size to {found}"
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=bos_token,
        eos_token=eos_token,
        pad_token=pad_token,
        model_max_length=model_max_length,
        chat_template=template_text(chat_template),
    )


def pretrained(
    path: str, *, chat_template: str | None = None, special_tokens: Mapping[str, str] | None = None
) -> PreTrainedTokenizerBase:
    """The tokenizer in a model's folder, with another chat template or other special tokens where they are given."""
    if not os.path.isdir(path):
        raise ModelError(f"there is no model folder {path}", hint="give the path of a folder with tokenizer files")
    from transformers import AutoTokenizer  # it imports torch, and a tokenizer that is trained does without

    try:
        tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    except (ValueError, KeyError, TypeError, AttributeError, OSError, ImportError, RecursionError) as error:
        from forge.ml.models.adapter_folder import refuse_adapter

        refuse_adapter(path)
        # The library explains on many lines; the beginning says it.
        reason = " ".join(str(error).split())[:200]
        raise ModelError(
            f"the folder {path} has no tokenizer that can be read ({reason})",
            hint="it needs tokenizer.json and tokenizer_config.json; tokenizer.path may name another folder",
        ) from error
    if special_tokens:
        tokenizer.add_special_tokens(dict(special_tokens))
    if chat_template is not None:
        tokenizer.chat_template = template_text(chat_template)
    return tokenizer


def template_text(name: str | None) -> str | None:
    """The text of a chat template: one of forge's by its name, any other by the path of its file."""
    if name is None:
        return None
    path = name if os.path.isfile(name) else os.path.join(chat_templates(), f"{name}.jinja")
    if not os.path.isfile(path):
        known = sorted(
            entry.removesuffix(".jinja") for entry in os.listdir(chat_templates()) if entry.endswith(".jinja")
        )
        raise FileNotFoundError(
            f"there is no chat template {name}: give the path of a file, or one of {', '.join(known)}"
        )
    try:
        return read_bounded(path, _LONGEST_TEMPLATE).decode()
    except UnicodeDecodeError as error:
        raise DataError(f"the chat template {path} is not UTF-8 text ({error.reason})") from error
