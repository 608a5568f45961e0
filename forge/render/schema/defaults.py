"""The schema of defaults lists: which groups there are, how each may be written, and what may be chosen from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from forge.compose.heading import heading

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from forge.render.schema.seen import Seen
    from forge.render.schema.values import Fragment

__all__ = ["choices_schema", "defaults_schema", "pick_name"]

_REFERENCE: Final[Fragment] = {"type": "string", "pattern": r"\$\{"}
_ANYWHERE: Final = "default"
_SPECIAL: Final = frozenset(".^$*+?()[]{}|\\")


def pick_name(group: str) -> str:
    """The name of the definition of a group's choices."""
    return f"pick.{group.replace('/', '.')}"


def choices_schema(seen: Seen) -> dict[str, Fragment]:
    """What defaults lists are made of: a line that holds anywhere; for each group one choice, a list, none, a reference."""
    picks = {pick_name(group): _choices(seen, group, names) for group, names in seen.groups.items()}
    return {_ANYWHERE: _anywhere(seen), **picks}


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
    files = [own for name in seen.files for own in _relative(name, folders)]
    groups = {group: spellings for group in seen.groups if (spellings := list(_relative(group, folders)))}
    own = ([{"enum": list(dict.fromkeys(files))}] if files else []) + ([_groups(groups)] if groups else [])
    return {
        "description": "The files this one is made of, in order; a later one wins.",
        "type": "array",
        "items": {"anyOf": [{"$ref": f"#/definitions/{_ANYWHERE}"}, *own]},
    }


def _anywhere(seen: Seen) -> Fragment:
    """A line of a defaults list that means the same in every folder."""
    names: Fragment = {"enum": ["_self_", *(f"/{name}" for name in seen.files)]}
    # What is put under a package of its own, and what is computed, is not looked into.
    texts: list[Fragment] = [names, {"type": "string", **({} if seen.open_ended else {"pattern": r"@|\$\{"})}]
    groups = _groups({group: [f"/{group}"] for group in seen.groups})
    groups["patternProperties"] |= {
        "^(?:override )?/?hydra/": {},  # Hydra's own run-time, which forge does not have
        "^(?:override optional|optional override|optional) ": {},  # what is optional need not be there
    }
    return {"anyOf": [*texts, {**groups, "additionalProperties": seen.open_ended}]}


def _groups(groups: Mapping[str, list[str]]) -> Fragment:
    """``group: choice`` with its keywords and package, for groups in some spellings."""
    common: dict[str, Fragment] = {}
    patterns: dict[str, Fragment] = {}
    for group, spellings in groups.items():
        pick: Fragment = {"$ref": f"#/definitions/{pick_name(group)}"}
        # Editors offer what is spelled out, and match what is a pattern.
        common |= {f"{keyword}{name}": pick for name in spellings for keyword in ("", "override ")}
        patterns[f"^(?:override )?(?:{'|'.join(map(_escaped, spellings))})(?:@[^ ]+)?$"] = pick
    return {
        "type": "object",
        "properties": common,
        "patternProperties": patterns,
        "additionalProperties": False,
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
