"""The manifest of a checkpoint: which files it consists of, with their hashes, and which step of which run it is."""

from __future__ import annotations

import json
import math
import os
import re
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from typing import Any, Final

from forge.base.errors import CheckpointError, ForgeError
from forge.base.files import read_bounded

__all__ = ["FORMAT", "MANIFEST", "Entry", "Manifest", "Score", "check_name", "read_manifest"]

MANIFEST: Final = "manifest.json"
FORMAT: Final = 1
_LIMIT: Final = 64 << 20
_LONGEST: Final = 255
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f\\]")
_HASH: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Entry:
    """A file as it was written."""

    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Score:
    """How good a checkpoint is: what was measured, the value, and whether more is better."""

    name: str
    value: float
    greater_is_better: bool = False

    def beats(self, other: Score) -> bool:
        """Whether this is better than another value of the same measure."""
        return self.value > other.value if self.greater_is_better else self.value < other.value


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a checkpoint consists of.

    ``sequence`` counts the checkpoints of one folder in the order in which they were saved, so that the newest is known without
    any clock, also when a run went back to an earlier step.
    """

    step: int
    sequence: int
    saved: str
    files: dict[str, Entry]
    facts: dict[str, Any] = field(default_factory=dict)
    score: Score | None = None

    def to_bytes(self) -> bytes:
        """As it is written: JSON that ends with the hash of all that stands before it."""
        body = {"format": FORMAT, **asdict(self)}
        try:
            checked = {**body, "sha256": _digest(body)}
            return json.dumps(checked, indent=1, allow_nan=False).encode() + b"\n"
        except (TypeError, ValueError) as error:
            raise CheckpointError(f"the facts of a checkpoint have to be plain JSON: {error}") from error

    @staticmethod
    def from_bytes(content: bytes) -> Manifest:
        """Read what `to_bytes` wrote; ValueError says what is wrong with anything else."""
        body, digest = _parsed(content)
        if body.pop("sha256", None) != digest:
            raise ValueError("has been changed or damaged")
        if body.pop("format", None) != FORMAT:
            raise ValueError(f"is of another format than {FORMAT}: it was written by another version of forge")
        try:
            files = {check_name(name): Entry(**entry) for name, entry in body.pop("files").items()}
            score = body.pop("score")
            found = Manifest(**body, files=files, score=None if score is None else Score(**score))
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"does not describe a checkpoint: {error}") from error
        found._check()
        if found.to_bytes() != content:
            raise ValueError("has been changed or damaged")
        return found

    def _check(self) -> None:
        """A manifest with the right hash may still have been made by hand."""
        if type(self.step) is not int or type(self.sequence) is not int or min(self.step, self.sequence) < 0:
            raise ValueError("has a step or a sequence that is no number")
        if type(self.facts) is not dict:
            raise ValueError("has facts that are no table")
        if self.score is not None and not (type(self.score.value) is float and math.isfinite(self.score.value)):
            raise ValueError("has a score that is no number")
        for name, entry in self.files.items():
            right = type(entry.size) is int and entry.size >= 0 and isinstance(entry.sha256, str)
            if not right or _HASH.fullmatch(entry.sha256) is None:
                raise ValueError(f"has no size or no hash of {name}")


def read_manifest(folder: str | os.PathLike[str]) -> Manifest:
    """The manifest of a checkpoint's folder; CheckpointError names the file and what is wrong with it."""
    path = os.path.join(folder, MANIFEST)
    if not os.path.lexists(path):
        raise CheckpointError(f"{MANIFEST} is missing: it was not saved by forge, or not to the end")
    if os.path.islink(path):
        raise CheckpointError(f"{MANIFEST} is not a regular file")
    try:
        return Manifest.from_bytes(read_bounded(path, _LIMIT))
    except ForgeError as error:
        raise CheckpointError(f"{MANIFEST} cannot be read: {error.what}") from error
    except ValueError as error:
        raise CheckpointError(f"{MANIFEST} {error}") from error


def check_name(name: str) -> str:
    """The name of a file in a checkpoint, which stays inside of its folder; ValueError for any other."""
    steps = name.split("/") if isinstance(name, str) else [""]
    for step in steps:
        if not step or step.startswith(".") or _CONTROL.search(step) or len(step.encode("utf-8", "replace")) > _LONGEST:
            raise ValueError(f"names a file that cannot be in a checkpoint: {name!r}")
    if name == MANIFEST:
        raise ValueError(f"names itself, {MANIFEST}, among its files")
    return name


def _parsed(content: bytes) -> tuple[dict[str, Any], str]:
    """The JSON object, and the hash of all in it but the hash itself."""
    try:
        body = json.loads(content)
        if not isinstance(body, dict):
            raise ValueError("not an object")  # noqa: TRY004, TRY301 - every fault of a manifest is a ValueError
        return body, _digest({key: value for key, value in body.items() if key != "sha256"})
    except (ValueError, RecursionError) as error:
        raise ValueError("is no JSON object") from error


def _digest(body: dict[str, Any]) -> str:
    return sha256(json.dumps(body, sort_keys=True, allow_nan=False).encode()).hexdigest()
