"""What torchtune needs to read the same data with the same tokenizer: a tokenizer of its kind over ``tokenizer.json``."""

from __future__ import annotations

from typing import Any

from tokenizers import Tokenizer as Fast

__all__ = ["Tokenizer"]


class Tokenizer:
    """Text and ChatML conversations to tokens, as torchtune asks for them."""

    def __init__(self, path: str, max_seq_len: int) -> None:
        self.fast = Fast.from_file(path)
        self.max_seq_len = max_seq_len
        self.pad_id = self.fast.token_to_id("<|pad|>")
        self.bos_id = self.fast.token_to_id("<|im_start|>")
        self.eos_id = self.fast.token_to_id("<|im_end|>")

    def encode(self, text: str, add_bos: bool = True, add_eos: bool = True) -> list[int]:
        """The tokens of a text."""
        ids = self.fast.encode(text, add_special_tokens=False).ids
        return [self.bos_id] * add_bos + ids + [self.eos_id] * add_eos

    def __call__(self, sample: dict[str, Any], inference: bool = False) -> dict[str, Any]:
        """A conversation with a mask that is true for what is not trained."""
        tokens: list[int] = []
        mask: list[bool] = []
        for message in sample.pop("messages"):
            head = self.fast.encode(f"<|im_start|>{message.role}\n", add_special_tokens=False).ids
            body = self.fast.encode(f"{message.text_content}<|im_end|>\n", add_special_tokens=False).ids
            tokens += head + body
            mask += [True] * len(head) + [message.masked] * len(body)
        sample["tokens"], sample["mask"] = tokens[: self.max_seq_len], mask[: self.max_seq_len]
        return sample
