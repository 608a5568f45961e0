"""Where a value of a config comes from: every place that set it, oldest first, as text and as data."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from forge.base.errors import InterpolationError, UsageError
from forge.base.paths import dotted, parse_dotted
from forge.base.secrets import MASK, is_secret_name
from forge.base.spelling import did_you_mean
from forge.compose.composed import NOT_OBJECTS
from forge.compose.interpolation import canonical
from forge.compose.reference import absolute, is_interpolation, reference_of
from forge.render.config import config_data

if TYPE_CHECKING:
    from collections.abc import Iterator

    from forge.base.origin import Origin
    from forge.base.paths import Path
    from forge.compose.composed import Composed

__all__ = ["Reason", "Step", "keys_of", "no_such_key", "why"]

_LONGEST: Final = 60
_MAX_HOPS: Final = 20


class Step(NamedTuple):
    """One time a value was set: by what, and to what."""

    origin: Origin
    value: Any


@dataclass(frozen=True, slots=True)
class Reason:
    """The history of one value, newest step last, and the histories of the values it refers to."""

    key: str
    steps: tuple[Step, ...]
    refers: Reason | None = None

    def __str__(self) -> str:
        """The value and, line by line, who set it."""
        reason: Reason | None = self
        lines: list[str] = []
        while reason is not None:
            lines += _lines(reason)
            reason = reason.refers
        return "\n".join(lines)

    def data(self) -> dict[str, Any]:
        """The same for programs."""
        return {
            "key": self.key,
            "value": self.steps[-1].value,
            "steps": [_step_data(step, old) for step, old in zip(self.steps, (None, *self.steps), strict=False)],
            "refers": self.refers.data() if self.refers else None,
        }


def _lines(reason: Reason) -> Iterator[str]:
    yield f"{reason.key} = {_short(reason.steps[-1].value)}"
    places = [str(step.origin) for step in reason.steps]
    width, layers = max(map(len, places)), max(len(step.origin.layer) for step in reason.steps)
    old: Step | None = None
    for step, place in zip(reason.steps, places, strict=True):
        if old and isinstance(old.value, dict) and isinstance(step.value, dict):
            change = "adds to it"  # mappings merge: what each file says of a key is that key's own history
        else:
            change = f"{_short(old.value)} → {_short(step.value)}" if old else _short(step.value)
        yield f"  {place:<{width}}  {step.origin.layer:<{layers}}  {change}"
        old = step


def why(composed: Composed, key: str) -> Reason:
    """The history of the value at a dotted path; UsageError with the nearest key when there is none."""
    try:
        path = parse_dotted(key)
    except ValueError:
        raise UsageError(f"{key!r} is not a dotted path", hint="write it like optimizer.lr or layers[0].size") from None
    try:
        reason = _reason(composed, canonical(composed.tree, path), _MAX_HOPS) if path else None
    except InterpolationError:
        reason = None
    if reason is None:
        raise no_such_key(composed.name, key, composed.tree)
    return reason


def no_such_key(name: str, key: str, tree: Any) -> UsageError:
    """The error for a dotted path that leads nowhere, with the path that was probably meant."""
    keys = keys_of(tree)
    inner = [one for one in keys if one.endswith(f".{key}")]
    # What describes the config is rarely meant: `steps` is trainer.steps before it is args.steps.
    inner.sort(key=lambda one: (one.partition(".")[0] in NOT_OBJECTS, len(one)))
    hint = f"did you mean {inner[0]!r}?" if inner else did_you_mean(key, keys)
    return UsageError(f"{name} has no value {key!r}", hint=hint or "`forge show` prints the whole config")


def keys_of(tree: Any) -> list[str]:
    """Every dotted path of a config."""
    found: list[str] = []
    stack: list[tuple[Path, Any]] = [((), tree)]
    while stack:
        path, value = stack.pop()
        items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, item in items:
            found.append(dotted((*path, key)))
            stack.append(((*path, key), item))
    return found


def _reason(composed: Composed, path: Path, hops: int) -> Reason | None:
    history = composed.history(path)
    if not history:
        return None
    secret = any(is_secret_name(key) for key in path)
    steps = tuple(
        Step(_masked(setting.origin, path) if secret else setting.origin, config_data(setting.value, secret=secret))
        for setting in history
    )
    return Reason(dotted(path), steps, _referred(composed, path, history[-1].value, hops))


def _referred(composed: Composed, path: Path, value: Any, hops: int) -> Reason | None:
    """The history of the place that a pure reference leads to."""
    reference = reference_of(value) if is_interpolation(value) else None
    if reference is None or not hops:
        return None
    try:
        return _reason(composed, canonical(composed.tree, absolute(path, reference)), hops - 1)
    except (ValueError, InterpolationError):
        return None


def _masked(origin: Origin, path: Path) -> Origin:
    """An override's text holds the value it sets."""
    return origin._replace(text=f"{dotted(path)}={MASK}") if origin.text else origin


def _step_data(step: Step, old: Step | None) -> dict[str, Any]:
    return {
        "value": step.value,
        "replaced": old.value if old else None,
        "layer": step.origin.layer,
        "file": step.origin.file or None,
        "line": step.origin.line or None,
        "text": step.origin.text or None,
    }


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    text = " ".join(text.split()) if isinstance(value, str) else text
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
