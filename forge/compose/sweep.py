"""Overrides that name several values, ``lr=1e-4,3e-4`` or ``seed=range(3)``: the values of each, by Hydra's own parser."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Final, NamedTuple

from forge.base.errors import OverrideError
from forge.base.origin import Origin

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["Axis", "axes_among", "grid"]

_MOST: Final = 1000


class Axis(NamedTuple):
    """What is varied: the key with the sign in front of it, as it was typed, and its values as an override has them."""

    key: str
    values: tuple[str, ...]


def axes_among(overrides: Sequence[str]) -> dict[int, Axis]:
    """The axes among some overrides, by their places; what does not parse is no axis, and is refused where it is composed."""
    # Hydra takes a tenth of a second to import, and only a sweep needs it here.
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    parser = OverridesParser.create()
    found = {}
    for place, text in enumerate(overrides):
        try:
            parsed = parser.parse_override(text)
        except (HydraException, RecursionError):
            continue
        if not parsed.is_sweep_override():
            continue
        try:
            values = tuple(_as_config(value) for value in parsed.sweep_string_iterator())
        except HydraException as error:
            raise _no_list(text, "it lists no values") from error
        if not values:
            raise _no_list(text, "it names no value")
        if len(set(values)) < len(values):
            raise _no_list(text, "it names a value twice")
        found[place] = Axis(parsed.get_key_element(), values)
    return found


def grid(axes: Sequence[Axis]) -> Iterator[tuple[str, ...]]:
    """A value of each axis, in every combination; the last axis changes first."""
    count = 1
    for axis in axes:
        count *= len(axis.values)
    if count > _MOST:
        raise OverrideError(
            f"this sweep is {count:,} runs, and {_MOST:,} are the most", hint="vary fewer things at once"
        )
    return product(*(axis.values for axis in axes))


def _as_config(value: str) -> str:
    return value.lower() if value in {"True", "False"} else value


def _no_list(text: str, reason: str) -> OverrideError:
    origin = Origin("", layer="override", text=text)
    return OverrideError(f"a sweep cannot take this: {reason}", origin=origin, hint="write key=a,b, or key=range(1,4)")
