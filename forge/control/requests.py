"""What a run is asked and answers through files in its folder, so that every process that sees the folder can ask.

``STOP``: end after this step, with a last checkpoint. ``ABORT``: TERM means at once, and nothing is saved. ``SAVE``: make a
checkpoint now and go on. Who asks for one puts a token into the file and finds it again in ``saved.json`` when that checkpoint
is on disk; a bare file without a token is a request too. ``ending.json`` says how a run ended.
"""

from __future__ import annotations

import json
import os
import uuid
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from forge.base.errors import FileError, ForgeError
from forge.base.files import read_bounded, write_atomic
from forge.base.json_file import read_json
from forge.base.locks import claim
from forge.base.origin import shown_path

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "ABORT_FILE",
    "ENDING_FILE",
    "SAVE_FILE",
    "STOP_FILE",
    "SaveAnswer",
    "ask_to_abort",
    "ask_to_save",
    "ask_to_stop",
    "save_answer",
    "write_answers",
]

STOP_FILE: Final = "STOP"
ABORT_FILE: Final = "ABORT"
SAVE_FILE: Final = "SAVE"
ENDING_FILE: Final = "ending.json"
_ANSWERS: Final = "saved.json"
_LOCK: Final = ".save.lock"
_KEPT: Final = 100  # answers; who asked reads its own within a fraction of a second
_LONGEST: Final = 1 << 20
_PATIENCE: Final = 10.0


class SaveAnswer(NamedTuple):
    """What came of a request for a checkpoint: where it is, or why there is none."""

    token: str
    step: int
    path: str = ""
    error: str = ""


def ask_to_stop(run_folder: str) -> None:
    """Ask a run to end after its step, with a last checkpoint."""
    _put(run_folder, STOP_FILE, "")


def ask_to_abort(run_folder: str) -> None:
    """Let the next TERM end a run at once."""
    _put(run_folder, ABORT_FILE, "")


def ask_to_save(run_folder: str, patience: float = _PATIENCE) -> str:
    """Ask a run for a checkpoint; the token under which the answer will be.

    A request that the run has not seen yet is joined: its answer is one to this request as well.
    """
    held = claim(os.path.join(run_folder, _LOCK), wait=patience)
    if held is None:
        raise FileError(f"{shown_path(os.path.join(run_folder, _LOCK))} is held by another process")
    try:
        token = _token_in(os.path.join(run_folder, SAVE_FILE))
        if not token:
            token = uuid.uuid4().hex
            _put(run_folder, SAVE_FILE, token)
    finally:
        held.release()
    return token


def save_answer(run_folder: str, token: str) -> SaveAnswer | None:
    """The answer to a request, once there is one."""
    try:
        answers: list[dict[str, Any]] = read_json(os.path.join(run_folder, _ANSWERS), _LONGEST)
        return next((SaveAnswer(**answer) for answer in reversed(answers) if answer["token"] == token), None)
    except (ForgeError, TypeError, KeyError):
        return None


def write_answers(run_folder: str, answers: Sequence[Any], name: str = _ANSWERS) -> None:
    """Tell everybody who asked; the last hundred answers are there to be read."""
    text = json.dumps([answer._asdict() for answer in answers[-_KEPT:]], indent=1)
    write_atomic(os.path.join(run_folder, name), text, durable=False)


def _put(run_folder: str, name: str, text: str) -> None:
    # The run may be another user's, and so what lies in its folder.
    write_atomic(os.path.join(run_folder, name), text, durable=False, follow=False)


def _token_in(path: str) -> str:
    try:
        return read_bounded(path, _LONGEST).decode("ascii", "replace").strip()
    except ForgeError:
        return ""
