"""The schema of defaults lists: which groups there are, how each may be written, and what may be chosen from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from forge.compose.heading import heading

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from forge.render.schema.seen import Seen
    from forge.render.schema.values import Fragment

__all__ = ["choices_schema", "defaults_schema", "pick_name"]

_REFERENCE: Final[Fragment] = {"type": "string", "pattern": r"\$\{"}
_SPECIAL: Final = frozenset(".^$*+?()[]{}|\\")


def pick_name(group: str) -> str:
    """The name of the definition of a group's choices."""
    return f"pick.{group.replace('/', '.')}"


def choices_schema(seen: Seen) -> dict[str, Fragment]:
    """A definition for each group: one choice, a list of them, none, or a reference to another choice."""
    return {pick_name(group): _choices(seen, group, names) for group, names in seen.groups.items()}


def _choices(seen: Seen, group: str, names: tuple[str, ...]) -> Fragment:
    shown = [name for name in names if not name.rpartition("/")[2].startswith("_")]
    parts = [name for name in names if name not in shown]
    one: list[Fragment] = [
        {"enum": shown, "enumDescriptions": [heading(seen.files[f"{group}/{name}"]) for name in shown]},
        {"enum": parts},
        _REFERENCE,
    ]
    one = [rule for rule in one if rule.get("enum") != []]
    if seen.open_ended:
        one = [*one, {"type": "string"}]
    return {"anyOf": [*one, {"type": "null"}, {"type": "array", "items": {"anyOf": one}}]}


def defaults_schema(seen: Seen, bases: Iterable[str]) -> Fragment:
    """A defaults list in files of some folders, from which names without a slash in front are looked up."""
    folders = sorted(set(bases))
    return {
        "description": "The files this one is made of, in order; a later one wins.",
        "type": "array",
        "items": {"anyOf": [{"type": "string", **_files(seen, folders)}, _groups(seen, folders)]},
    }


def _files(seen: Seen, folders: list[str]) -> Fragment:
    """``_self_`` and the names of files; what is put under a package of its own is not looked into."""
    if seen.open_ended:
        return {}
    names = dict.fromkeys(["_self_", *(f"/{name}" for name in seen.files)])
    names |= dict.fromkeys(own for name in seen.files for own in _relative(name, folders))
    return {"anyOf": [{"enum": list(names)}, {"pattern": r"@|\$\{"}]}


def _groups(seen: Seen, folders: list[str]) -> Fragment:
    """``group: choice`` with its keywords and package."""
    patterns: dict[str, Any] = {
        "^(?:override )?/?hydra/": {},  # Hydra's own run-time, which forge does not have
        "^(?:override optional|optional override|optional) ": {},  # what is optional need not be there
    }
    common: dict[str, Fragment] = {}
    for group in seen.groups:
        pick: Fragment = {"$ref": f"#/definitions/{pick_name(group)}"}
        spellings = [f"/{group}", *_relative(group, folders)]
        inner = "|".join(map(_escaped, spellings))
        patterns[f"^(?:override )?(?:{inner})(?:@[^ ]+)?$"] = pick
        common |= {f"/{group}": pick, f"override /{group}": pick}
    return {
        "type": "object",
        "properties": common,
        "patternProperties": patterns,
        "additionalProperties": seen.open_ended,
        "minProperties": 1,
        "maxProperties": 1,
    }


def _relative(name: str, folders: list[str]) -> Iterator[str]:
    for folder in folders:
        if not folder:
            yield name
        elif name.startswith(f"{folder}/"):
            yield name[len(folder) + 1 :]


def _escaped(text: str) -> str:
    """A text as a pattern that Python and JavaScript read alike."""
    return "".join(f"\\{letter}" if letter in _SPECIAL else letter for letter in text)
