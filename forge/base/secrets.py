"""Values that must never be shown."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["MASK", "Secret", "is_secret_name", "masked_override"]

MASK: Final = "********"

# Whole words of a key, so that `pad_token`, `tokenizer` and `max_tokens` stay readable.
_SECRET_NAME = re.compile(
    r"(?:^|[_\-.])(?:password|passwd|passphrase|secret|secrets|credentials?|(?:api|private|access|secret)[_\-]?key"
    r"|(?:access|auth|api|hf|hub|bearer|wandb|github|session)[_\-]token)(?:$|[_\-.])",
    re.IGNORECASE,
)

_INNER_KEY: Final = re.compile(r"(?<![\w\-.])[\w\-.]+(?=\s*:)")  # of a mapping that is set as a whole


class Secret:
    """Wraps a value so that printing it, formatting it or drawing it shows a mask; only `reveal` gives it back."""

    __slots__ = ("_value",)

    def __init__(self, value: object) -> None:
        self._value = value

    def reveal(self) -> object:
        """The value itself, for the one who is allowed to use it: the builder."""
        return self._value

    def __repr__(self) -> str:
        return repr(MASK)

    def __str__(self) -> str:
        return MASK

    def __format__(self, spec: str) -> str:
        return format(MASK, spec)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash(("Secret", MASK))


def is_secret_name(name: object) -> bool:
    """Whether a key's name says that its value is a secret (``api_key``, ``hf_token``; not ``pad_token``)."""
    return isinstance(name, str) and _SECRET_NAME.search(name) is not None


def masked_override(typed: str) -> str:
    """An override or a flag as it may be shown: what is set for a key that names a secret is a mask."""
    separator = " " if typed.startswith("--") else "="
    key, found, value = typed.partition(separator)
    names = [key.lstrip("+~-").replace("-", "_"), *_INNER_KEY.findall(value)]
    return f"{key}{separator}{MASK}" if found and any(map(is_secret_name, names)) else typed
