"""Short talks with Samantha, of this project's own making, in the format of the data that she is named after."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal

from forge.ml.data.read import file_rows

if TYPE_CHECKING:
    from forge.ml.data.read import FileRows

__all__ = ["Split", "talks", "texts"]

Split = Literal["train", "held_out"]


def talks(split: Split = "train") -> FileRows:
    """The conversations of one split: rows of ``conversations``, each turn ``from`` human or gpt with its ``value``."""
    return file_rows([os.path.join(os.path.dirname(__file__), f"{split}.jsonl")])


def texts(split: Split = "train") -> tuple[str, ...]:
    """What is said in the conversations of one split, as a document each."""
    return tuple("\n".join(turn["value"] for turn in row["conversations"]) for row in talks(split))
