"""What may change in a run while it goes on, and how that is asked for and answered.

``SET`` in the run folder holds the requests that the run has not seen yet, a JSON list; who asks adds one under a lock, and finds the
answer under its token in ``settings.json`` when every process of the run goes by it. The run takes the file away and reads it
then, without the lock: a request that was added to a list just taken comes again with its neighbours, and counts once. A plain
object, ``{"lr_scale": 0.5}``, written by hand, is a request too.
"""

from __future__ import annotations

import json
import math
import os
import uuid
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from forge.base.errors import FileError, ForgeError, UsageError
from forge.base.files import read_bounded, write_atomic
from forge.base.json_file import read_json
from forge.base.locks import claim
from forge.base.origin import shown_path
from forge.control.requests import write_answers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "CHANGEABLE",
    "SET_FILE",
    "SetAnswer",
    "SetRequest",
    "ask_to_set",
    "problem_of_setting",
    "read_settings",
    "requests_in",
    "set_answer",
    "write_set_answers",
]

SET_FILE: Final = "SET"
CHANGEABLE: Final = {
    "lr_scale": "a factor above 0 on every learning rate of the schedule",
    "logging_steps": "a whole number, at least 1: how many steps apart figures are written",
    "eval_steps": "a whole number, at least 1: how many steps apart the run is evaluated",
    "save_steps": "a whole number, at least 1: how many steps apart the run is saved",
}
"""The names of what may change, with what each takes."""
_ANSWERS: Final = "settings.json"
_LOCK: Final = ".set.lock"
_LONGEST: Final = 1 << 20
_PATIENCE: Final = 10.0
_MOST: Final = 1_000_000_000


class SetRequest(NamedTuple):
    """Values by name that somebody wants the run to go by; without a token nobody waits for an answer."""

    token: str
    values: dict[str, Any]


class SetAnswer(NamedTuple):
    """What came of a request: each value before and after, and the last step before it counts; or why nothing has changed."""

    token: str
    step: int
    changed: dict[str, tuple[float | None, float]]
    error: str = ""


def read_settings(words: Sequence[str]) -> dict[str, float]:
    """The values of words such as ``lr_scale=0.5``; UsageError for what may not change, or not to that."""
    found: dict[str, float] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals:
            raise UsageError(f"{word!r} sets nothing", hint="write NAME=VALUE: lr_scale=0.5")
        if name in found:
            raise UsageError(f"{name} is set twice")
        value = _number(text)
        problem = problem_of_setting(name, text if value is None else value)
        if problem:
            raise UsageError(problem, hint=f"what may change: {', '.join(CHANGEABLE)}")
        found[name] = text if value is None else value  # type: ignore[assignment]  # a text has a problem
    return found


def problem_of_setting(name: str, value: object) -> str:
    """Why a run cannot go by this value, empty when it can."""
    if name not in CHANGEABLE:
        return f"{name} cannot change while a run goes on"
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    whole = name != "lr_scale"
    if is_number and 0 < value <= _MOST and (not whole or isinstance(value, int)):  # type: ignore[operator]
        return ""
    return f"{name} is {CHANGEABLE[name]}; not {value!r:.40}"


def ask_to_set(run_folder: str, values: Mapping[str, float], patience: float = _PATIENCE) -> str:
    """Ask a run to go by other values; the token under which the answer will be."""
    lock, path = (os.path.join(run_folder, name) for name in (_LOCK, SET_FILE))
    held = claim(lock, wait=patience)
    if held is None:
        raise FileError(f"{shown_path(lock)} is held by another process")
    token = uuid.uuid4().hex
    try:
        waiting = [request._asdict() for request in _waiting(path)]
        text = json.dumps([*waiting, {"token": token, "values": dict(values)}])
        write_atomic(path, text, durable=False, follow=False)  # the run may be another user's
    finally:
        held.release()
    return token


def requests_in(content: bytes) -> list[SetRequest]:
    """The requests of a file that was taken; ValueError when it holds something else."""
    try:
        found = json.loads(content)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if isinstance(found, dict):
        return [SetRequest("", found)]
    if not isinstance(found, list):
        raise ValueError("it is no list of requests")  # noqa: TRY004 - whoever reads a file expects one kind of error
    return [_request(one) for one in found]


def set_answer(run_folder: str, token: str) -> SetAnswer | None:
    """The answer to a request, once there is one."""
    try:
        answers: list[dict[str, Any]] = read_json(os.path.join(run_folder, _ANSWERS), _LONGEST)
        found = next((answer for answer in reversed(answers) if answer["token"] == token), None)
        if found is None:
            return None
        changed = {name: (before, after) for name, (before, after) in found["changed"].items()}
        return SetAnswer(found["token"], found["step"], changed, found["error"])
    except (ForgeError, ValueError, TypeError, KeyError, AttributeError):
        return None


def write_set_answers(run_folder: str, answers: Sequence[SetAnswer]) -> None:
    """Tell everybody who asked; the last hundred answers are there to be read."""
    write_answers(run_folder, answers, _ANSWERS)


def _waiting(path: str) -> list[SetRequest]:
    """The requests that the run has not seen yet; what is no request gives way to one."""
    try:
        return requests_in(read_bounded(path, _LONGEST))
    except (ForgeError, ValueError):
        return []


def _request(one: Any) -> SetRequest:
    if not isinstance(one, dict) or not isinstance(one.get("values"), dict):
        raise ValueError("a request is an object with values")  # noqa: TRY004 - as above
    return SetRequest(str(one.get("token", "")), one["values"])


def _number(text: str) -> float | None:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return None
