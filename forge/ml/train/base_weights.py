"""The weights that an adapter stands on: they are in no checkpoint, so a run that goes on has to know whether they are the same."""

from __future__ import annotations

import os
from glob import escape, glob
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from forge.base.errors import ResumeError
from forge.base.files import open_regular
from forge.base.origin import shown_path

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["base_weights", "check_base_weights"]

# The first kind that is there is the one that is read.
_KINDS: Final = ("model*.safetensors", "pytorch_model*.bin", "consolidated*.pth")
_NEW_RUN: Final = "put them back, or begin a new run in another --output-dir"
_PIECES: Final = 64
_PIECE: Final = 64 << 10


def base_weights(folder: str | None) -> dict[str, str]:
    """A fingerprint of each file of weights in a model folder: its size and pieces from all over it, for the whole may be large."""
    if folder is None:
        return {}
    found = (sorted(glob(os.path.join(escape(folder), kind))) for kind in _KINDS)
    return {os.path.basename(path): _fingerprint(path) for path in next(filter(None, found), [])}


def check_base_weights(
    saved: Mapping[str, str], found: Mapping[str, str], folder: str | None, hint: str = _NEW_RUN
) -> None:
    """ResumeError where an adapter would stand upon other weights than it was trained on."""
    changed = sorted(name for name in saved.keys() | found.keys() if saved.get(name) != found.get(name))
    if changed:
        raise ResumeError(
            f"the weights in {shown_path(folder or '')} are not those that the adapter was trained on; "
            f"changed: {', '.join(changed[:3])}{', ...' if len(changed) > 3 else ''}",  # noqa: PLR2004 - some are enough
            hint=hint,
        )


def _fingerprint(path: str) -> str:
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        digest = sha256(size.to_bytes(8, "little"))
        for number in range(_PIECES):
            digest.update(_piece(file, number * max(0, size - _PIECE) // (_PIECES - 1)))
    return digest.hexdigest()


def _piece(file: Any, start: int) -> bytes:
    data: bytes = os.pread(file.fileno(), _PIECE, start)
    return data
