"""Which part of the data something belongs to, told by its name alone: stable on every machine and in every order."""

from __future__ import annotations

import hashlib
from typing import Final, Literal

__all__ = ["Split", "check_split", "split_of"]

Split = Literal["train", "held_out"]

_ONE_IN: Final = 20


def split_of(key: str) -> Split:
    """One key in twenty is held out."""
    digest = hashlib.blake2b(key.encode(), digest_size=8).digest()
    return "held_out" if int.from_bytes(digest, "big") % _ONE_IN == 0 else "train"


def check_split(split: str) -> None:
    """Refuse a split that does not exist."""
    if split not in ("train", "held_out"):
        raise ValueError(f"split is train or held_out, not {split!r}")
