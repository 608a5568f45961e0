"""A composed config with its interpolations replaced by what they stand for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from forge.base.errors import ConfigLimitError, InterpolationError
from forge.base.paths import dotted
from forge.base.secrets import MASK
from forge.compose.document import ConfigList, ConfigMap
from forge.compose.interpolation import Evaluator, canonical
from forge.compose.merge import MISSING
from forge.compose.reference import absolute, is_interpolation, lookup, reference_of

if TYPE_CHECKING:
    from forge.base.paths import Path
    from forge.compose.composed import Composed

__all__ = ["MAX_RESOLVED", "resolved"]

MAX_RESOLVED: Final = 200_000
_OBJECTS: Final = ("_target_", "_symbol_")


def resolved(composed: Composed) -> ConfigMap:
    """The tree, its settings kept, with values in place of ``${...}``.

    A reference to an object stays as it is written: it means that very object, and a second description would be a
    second object. References to references could grow without bound: more than `MAX_RESOLVED` values are an error.
    """
    try:
        tree = _Resolution(composed).mapping(composed.tree, ())
        size = _size(tree, {})
    except RecursionError:
        raise ConfigLimitError("the config is nested too deeply to be resolved") from None
    if size > MAX_RESOLVED:
        raise ConfigLimitError(
            f"the resolved config would have more than {MAX_RESOLVED:,} values", hint="look at it without --resolve"
        )
    return tree


class _Resolution:
    def __init__(self, composed: Composed) -> None:
        self.composed = composed
        self.root = composed.tree
        self.evaluator = Evaluator(composed.tree)
        self.done: dict[Path, Any] = {}
        self.open: list[Path] = []

    def mapping(self, value: ConfigMap, path: Path) -> ConfigMap:
        result = ConfigMap()
        result.settings.update(value.settings)
        for key, item in value.items():
            result[key] = self.value(item, (*path, key))
        return result

    def value(self, value: Any, path: Path) -> Any:
        if isinstance(value, ConfigMap):
            return self.mapping(value, path)
        if isinstance(value, ConfigList):
            items = ConfigList()
            items.settings.extend(value.settings)
            items.extend(self.value(item, (*path, index)) for index, item in enumerate(value))
            return items
        if not is_interpolation(value):
            return value
        reference = reference_of(value)
        try:
            if reference is not None:
                return self.place(path, reference, value)
            result, read = self.evaluator.evaluate(value, path)
            return MASK if self.evaluator.is_secret(read) else result
        except InterpolationError as error:
            origin = self.composed.origin(path)
            raise InterpolationError(
                error.what, origin=error.origin or origin, key=error.key or dotted(path), hint=error.hint
            ) from error

    def place(self, at: Path, reference: str, text: str) -> Any:
        """What a pure reference leads to, the text itself when that is an object."""
        path = canonical(self.root, absolute(at, reference))
        if path in self.done:
            return self.done[path]
        if path in self.open:
            raise InterpolationError(f"{dotted(path)!r} needs itself")
        target = lookup(self.root, path)
        if self.evaluator.is_secret([path]) and target is not None:
            return MASK  # its own place hides it, this one has another name
        if _holds_object(target):
            return text
        self.open.append(path)
        self.done[path] = target if target == MISSING else self.value(target, path)
        self.open.pop()
        return self.done[path]


def _holds_object(value: Any) -> bool:
    stack = [value]
    while stack:
        one = stack.pop()
        if isinstance(one, dict):
            if any(key in one for key in _OBJECTS):
                return True
            stack.extend(one.values())
        elif isinstance(one, list):
            stack.extend(one)
    return False


def _size(value: Any, known: dict[int, int]) -> int:
    """How many values would be printed; what is shared counts as often as it would be printed."""
    if not isinstance(value, (dict, list)):
        return 1
    if id(value) not in known:
        items = value.values() if isinstance(value, dict) else value
        known[id(value)] = 1 + sum(_size(item, known) for item in items)
    return known[id(value)]
