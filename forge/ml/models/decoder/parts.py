"""What every part of an assembled decoder is: a frozen value that is written into config.json and makes its own module."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, ClassVar

__all__ = ["Part", "part_from"]

_KIND = "part"


class Part:
    """A choice of the assembly, such as grouped-query attention with so many heads; its subclasses are frozen dataclasses."""

    kinds: ClassVar[dict[str, type[Part]]] = {}

    def __init_subclass__(cls, **settings: Any) -> None:
        super().__init_subclass__(**settings)
        Part.kinds[cls.__name__] = cls

    def to_dict(self) -> dict[str, Any]:
        """Plain data, from which `part_from` makes the same part."""
        return {_KIND: type(self).__name__} | {entry.name: _plain(getattr(self, entry.name)) for entry in fields(self)}


def part_from(value: Any) -> Any:
    """The part that plain data describes, with the parts inside it; anything else is returned as it is."""
    if not isinstance(value, dict) or _KIND not in value:
        return value
    settings = {name: part_from(setting) for name, setting in value.items() if name != _KIND}
    kind = Part.kinds.get(value[_KIND])
    if kind is None:
        known = ", ".join(sorted(Part.kinds))
        raise ValueError(f"this model has a part {value[_KIND]!r}, whose class is not imported; imported are {known}")
    return kind(**settings)


def _plain(value: Any) -> Any:
    return value.to_dict() if isinstance(value, Part) else value
