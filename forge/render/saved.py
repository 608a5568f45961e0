"""A config with overrides as the text of a config file that stands on it: defaults, choices of groups, then values.

The text is held against what it was made from: composed, it gives the same values and the same choices. What a defaults
list and merged values cannot say is refused, with the override that asks for it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

from forge.base.errors import ConfigError, OverrideError, UsageError
from forge.base.paths import dotted
from forge.base.secrets import is_secret_name
from forge.compose.composer import compose_fresh
from forge.compose.lookups import Lookups
from forge.compose.merge import MISSING
from forge.compose.overrides import parse_overrides
from forge.compose.reference import is_interpolation
from forge.compose.repository import Repository
from forge.graph.equal import same_value
from forge.render.config import config_yaml, scalar

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from forge.base.paths import Path
    from forge.compose.composed import Composed
    from forge.compose.overrides import Override
    from forge.compose.project import Project

__all__ = ["saved"]

_HEADER: Final = "# @package _global_\n"
_LONGEST: Final = 200  # characters of the overrides in a description
# What a file says of itself, in which it differs from the one it stands on.
_DESCRIBED: Final = ("name", "description")


def saved(
    project: Project, base: str, overrides: Sequence[str | tuple[str, str]], name: str, *, description: str = ""
) -> str:
    """The text of a config ``name`` that is ``base`` with these overrides; OverrideError for what no file can say."""
    file = os.path.join(project.config_folder, f"{name}.yaml")
    wanted = compose_fresh(project, base, overrides)
    if any(used.file == file for used in wanted.files):
        raise UsageError(f"{base} is made from {name}, which cannot stand on it", hint="choose another name")
    changes = _Changes(wanted, parse_overrides(overrides))
    text = changes.text(base, name, description)
    _hold(changes, name, file, text)
    return text


class _Changes:
    """What the overrides ask for, as a file says it: choices, further groups, and values."""

    def __init__(self, wanted: Composed, overrides: Sequence[Override]) -> None:
        self.wanted = wanted
        self.added: dict[str, Any] = {}
        self.chosen: dict[str, Any] = {}
        self.deleted: dict[str, Any] = {}
        self.values: dict[Any, Any] = {}
        self.sources: list[tuple[Path, Override]] = []
        repository = Repository(wanted.project.roots, Lookups())
        for override in overrides:
            parsed = override.parsed
            value = None if parsed.is_delete() else _plain(parsed.value())
            if parsed.is_hydra_override():
                continue  # Hydra's run-time, which forge does not have
            if repository.group_exists(parsed.key_or_group) and not isinstance(value, dict):
                self._choose(override, value)
            else:
                self._set(override, value)

    def _choose(self, override: Override, value: Any) -> None:
        """A choice. A group that is taken away, before or behind its choice, is one from which nothing is chosen."""
        parsed = override.parsed
        key = parsed.key_or_group if parsed.package is None else f"{parsed.key_or_group}@{parsed.package}"
        self.sources.append(((key,), override))
        if parsed.is_delete():
            self.deleted[key] = None
        elif parsed.is_add():  # Hydra looks for it below the config's own folder
            self.added[os.path.join(os.path.dirname(self.wanted.name), key)] = value
        else:
            self.chosen[key] = value

    def _set(self, override: Override, value: Any) -> None:
        """A value; of a list that an override reaches into, the file holds the whole."""
        path: Path = tuple(override.parsed.key_or_group.split("."))
        self.sources.append((path, override))
        holders = list(_holders(self.wanted.tree, path))
        inside = next((depth for depth, held in enumerate(holders) if isinstance(held, list)), None)
        if inside is not None:
            path, value = path[:inside], _plain(holders[inside])
        elif override.parsed.is_delete() and not _has_names(holders[-1]):
            _drop(self.values, path)
            return
        _refuse_secret(path, value, override)
        into = self.values
        for key in path[:-1]:
            if not isinstance(into.get(key), dict):
                into[key] = {}
            into = into[key]
        _lay(into, path[-1], value)

    def text(self, base: str, name: str, description: str) -> str:
        """The file: each part with an empty line before it."""
        values = dict(self.values)
        about = values.pop("meta", {})
        if isinstance(about, dict) and isinstance(self.wanted.tree.get("meta", {}), (dict, type(None))):
            about = self._about(base, name, description) | about
        parts = [config_yaml({"meta": about}), *(config_yaml({key: values[key]}) for key in values)]
        return (_HEADER if "/" in name else "") + "\n\n".join([self._defaults(base), *parts]) + "\n"

    def _defaults(self, base: str) -> str:
        lines = [
            scalar(f"/{base}"),
            *(config_yaml({f"/{group}": choice}) for group, choice in self.added.items()),
            *(config_yaml({f"override /{group}": choice}) for group, choice in (self.chosen | self.deleted).items()),
            "_self_",
        ]
        return "\n  - ".join(["defaults:", *(line.replace("\n", "\n    ") for line in lines)])

    def _about(self, base: str, name: str, description: str) -> dict[str, str]:
        typed = [" ".join(override.typed.split()) for _, override in self.sources]
        told = f"{base} with {_some(typed)}." if typed else f"As {base}."
        return {
            "name": name.rpartition("/")[2].replace("_", " ").capitalize(),
            "description": " ".join(description.split()) or told,
        }

    def blamed(self, path: Path) -> Override | None:
        """The last override that has a say in the value at a path."""
        for source, override in reversed(self.sources):
            shared = min(len(source), len(path))
            if tuple(map(str, source[:shared])) == tuple(map(str, path[:shared])):
                return override
        return None


# ---- values


def _holders(tree: Any, path: Path) -> Iterator[Any]:
    """What is there at each step of a path before its last one, None from where there is nothing; no reference is followed."""
    held = tree
    for key in path:
        yield held
        held = held.get(key) if isinstance(held, dict) else None


def _has_names(holder: Any) -> bool:
    """Whether it is a list whose items have names: one that is null is not there."""
    return isinstance(holder, dict) and holder.get("_list_") is True


def _drop(values: Any, path: Path) -> None:
    """Forget what an earlier override set."""
    for key in path[:-1]:
        values = values.get(key) if isinstance(values, dict) else None
    if isinstance(values, dict):
        values.pop(path[-1], None)


def _lay(into: dict[Any, Any], key: Any, value: Any) -> None:
    if isinstance(value, dict) and isinstance(into.get(key), dict):
        for inner, item in value.items():
            _lay(into[key], inner, item)
    else:
        into[key] = value


def _plain(value: Any) -> Any:
    """Config data, or what Hydra's parser makes of an override, without classes of its own."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return str(value.text) if type(value).__name__ == "QuotedString" else value


def _refuse_secret(path: Path, value: Any, override: Override) -> None:
    stack = [(value, any(map(is_secret_name, path)))]
    while stack:
        held, secret = stack.pop()
        if isinstance(held, dict):
            stack += [(item, secret or is_secret_name(key)) for key, item in held.items()]
        elif isinstance(held, list):
            stack += [(item, secret) for item in held]
        elif secret and held is not None and not is_interpolation(held):
            raise OverrideError(
                "the value of a secret is not written into a file",
                origin=override.origin,
                hint="let the config read it from the environment: ${oc.env:NAME}",
            )


# ---- the proof


def _hold(changes: _Changes, name: str, file: str, text: str) -> None:
    """Compose the file as if it were there, and hold it against what it was made from."""
    wanted = changes.wanted
    try:
        content = text.encode()
        made = compose_fresh(wanted.project, name, lookups=Lookups({file: content}))
    except UnicodeEncodeError as error:
        raise UsageError(f"{error.object[error.start]!r} is no letter that a file can hold") from error
    except ConfigError as error:
        place: Path = tuple(error.key.split(".")) if error.key else ()
        raise _refusal(changes, place, f"composed from a file: {error.what}") from error
    choice = _other_choice(wanted, made)
    if choice is not None:
        raise _refusal(changes, (choice,), f"a defaults list does not make this choice of {choice}")
    given = changes.values.get("meta")
    taken = given if isinstance(given, dict) else {}
    dropped = [key for key in _DESCRIBED if key not in taken]
    path = _other_value(_without(wanted.tree, dropped), _without(made.tree, dropped))
    if path is not None:
        raise _refusal(changes, path, f"a file would give {dotted(path)!r} another value")


def _refusal(changes: _Changes, path: Path, otherwise: str) -> OverrideError:
    override = changes.blamed(path)
    if override is None:
        return OverrideError(f"{changes.wanted.name} cannot be stood on as it is: {otherwise}")
    reason, instead = otherwise, "keep it as an override"
    if override.parsed.is_delete():
        reason = "a file can set a key, not take it away from the config that it stands on"
        instead = "set it to null, or keep it as an override"
    elif MISSING in str(override.parsed.value()):
        reason = f"in a file {MISSING} leaves the value that is there"
    elif isinstance(override.parsed.value(), dict):
        reason = "in a file a mapping is laid over what is there, also through a reference, and does not replace it"
    return OverrideError(reason, origin=override.origin, hint=f"nothing was written: {instead}")


def _other_choice(wanted: Composed, made: Composed) -> str | None:
    groups = [*wanted.choices, *(group for group in made.choices if group not in wanted.choices)]
    return next((group for group in groups if wanted.choices.get(group) != made.choices.get(group)), None)


def _without(tree: dict[Any, Any], dropped: Sequence[str]) -> dict[Any, Any]:
    """The tree without what a file says of itself; a ``meta`` that says nothing else is none."""
    rest = dict(tree)
    meta = rest.pop("meta", None)
    if isinstance(meta, dict):
        meta = {key: value for key, value in meta.items() if key not in dropped}
    return rest | ({"meta": meta} if meta not in (None, {}) else {})


def _other_value(one: Any, two: Any, path: Path = ()) -> Path | None:
    """The path of the first value that is not the same; None when all are."""
    if isinstance(one, dict) and isinstance(two, dict):
        if _has_names(one) and _has_names(two):
            one, two = ({key: held for key, held in each.items() if held is not None} for each in (one, two))
            if set(one) == set(two) and list(one) != list(two):
                return path
        for key in (*one, *(key for key in two if key not in one)):
            if key not in one or key not in two:
                return (*path, key)
            if (found := _other_value(one[key], two[key], (*path, key))) is not None:
                return found
        return None
    if isinstance(one, list) and isinstance(two, list):
        if len(one) != len(two):
            return path
        pairs = (_other_value(*pair, (*path, index)) for index, pair in enumerate(zip(one, two, strict=True)))
        return next((found for found in pairs if found is not None), None)
    return None if same_value(one, two) else path


def _some(words: Sequence[str]) -> str:
    """As many of them as a description has room for, and how many more there are."""
    shown: list[str] = []
    for word in words:
        if shown and len(", ".join([*shown, word])) > _LONGEST:
            break
        shown.append(word if len(word) <= _LONGEST else f"{word[:_LONGEST]} ...")
    more = len(words) - len(shown)
    return ", ".join(shown) + f" and {more} more" * (more > 0)
