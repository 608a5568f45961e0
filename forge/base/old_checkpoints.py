"""The checkpoints that an output folder holds by their names, and what is said to a run that would mix its own with them."""

from __future__ import annotations

import contextlib
import os
import re
from typing import Final

from forge.base.errors import ResumeError
from forge.base.origin import shown_path

__all__ = ["checkpoint_around", "checkpoint_steps", "would_mix"]

_CHECKPOINTS: Final = "checkpoints"
_CHECKPOINT: Final = re.compile(r"checkpoint-(\d+)(-\d+)?")


def checkpoint_steps(output: str) -> list[int]:
    """The steps of the checkpoints below an output folder, in order; nothing of them is read."""
    names: list[str] = []
    with contextlib.suppress(OSError):
        names = os.listdir(os.path.join(output, _CHECKPOINTS))
    return sorted(int(found[1]) for name in names if (found := _CHECKPOINT.fullmatch(name)))


def checkpoint_around(output: str) -> str | None:
    """The checkpoint that an output folder is, or lies in: whatever is written there would be no part of it, so that it is not whole."""
    folder = os.path.abspath(output)
    while not _is_checkpoint(folder):
        above = os.path.dirname(folder)
        if above == folder:
            return None
        folder = above
    return folder


def _is_checkpoint(folder: str) -> bool:
    named = _CHECKPOINT.fullmatch(os.path.basename(folder)) or os.path.isdir(os.path.join(folder, "state"))
    return bool(named) and os.path.isfile(os.path.join(folder, "manifest.json"))


def would_mix(output: str, step: int) -> ResumeError:
    """The refusal of a new run in a folder that holds the checkpoints of another, up to a step."""
    return ResumeError(
        f"{shown_path(output)} holds checkpoints up to step {step} already",
        hint="continue from them with --resume-from-checkpoint auto, write elsewhere with --output-dir, "
        "or remove them first with --overwrite-output-dir",
    )
