"""What may come next on a command line: a pure function of the words, the position, and what is known of the project.

The same function serves bash, zsh, fish and the interactive shell. Override keys are offered one path segment at a time,
so that a large config never floods the list.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from forge.base.errors import UsageError
from forge.cli.options import Option
from forge.cli.parse import is_override, split_flag

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from forge.cli.options import Positional
    from forge.cli.registry import Registry, Verb

__all__ = ["FILES", "GLOBAL_OPTIONS", "Candidate", "Flag", "Known", "Value", "complete", "split_globals"]


class Candidate(NamedTuple):
    """A text that may stand at the cursor, and what it means."""

    text: str
    meaning: str = ""


class Value(NamedTuple):
    """A value of the config, as completion shows it: whether it holds further keys, its text, and its choices."""

    shown: str
    inner: bool = False
    choices: tuple[str, ...] = ()


class Flag(NamedTuple):
    """A flag that the config declares: its spellings, its meaning, its choices, and whether it is a switch."""

    names: tuple[str, ...]
    meaning: str
    choices: tuple[str, ...] = ()
    switch: bool = False


class Known(Protocol):
    """What completion asks about the project and the config; a provider returns nothing where it knows nothing."""

    @property
    def verbs(self) -> Registry:
        """The verbs that can be typed."""

    def projects(self) -> Mapping[str, str]:
        """Names of projects with their descriptions."""

    def configs(self) -> Mapping[str, str]:
        """Names of the project's configs with their descriptions."""

    def groups(self) -> Mapping[str, str]:
        """What may stand before ``=`` to choose from a group, with the current choice."""

    def choices(self, group: str) -> Mapping[str, str]:
        """The choices of a group with what each is."""

    def values(self, path: Sequence[str]) -> Mapping[str, Value]:
        """The keys below a path of the config."""

    def targets(self) -> Mapping[str, str]:
        """Paths of what can be built, with the name of what builds it."""

    def flags(self) -> Sequence[Flag]:
        """The flags that the config declares."""


FILES: Final = Candidate("", "a file")
"""Stands for all files: the shell completes those itself."""

GLOBAL_OPTIONS: Final = (
    Option(("-p", "--project"), "a project's folder or name", "PROJECT", completes="project"),
    Option(("-t", "--config"), "a config of the project", "CONFIG", completes="config"),
    Option(("--debug",), "show a traceback with every error"),
    Option(("--version",), "print the version"),
    Option(("-h", "--help"), "explain forge, or the verb"),
)
_HELP: Final = GLOBAL_OPTIONS[-1]


def complete(words: Sequence[str], index: int, known: Known) -> list[Candidate]:
    """The candidates for ``words[index]``, where ``words`` are those after ``forge``."""
    before, word = words[:index], words[index] if index < len(words) else ""
    chosen, rest = split_globals(before)
    if chosen.waiting is not None:
        return _kind(chosen.waiting.completes, word, known)
    if not rest:
        return _options(GLOBAL_OPTIONS, word) if word.startswith("-") else _kind("verb", word, known)
    try:
        verb = known.verbs.find(rest[0])
    except UsageError:
        return []
    return _after_verb(verb, rest[1:], word, known)


class _Globals(NamedTuple):
    project: str | None = None
    config: str | None = None
    waiting: Option | None = None


def split_globals(words: Sequence[str]) -> tuple[_Globals, Sequence[str]]:
    """The project and config chosen before the verb, a global flag that waits for its value, and the words after."""
    found = _Globals()
    names = {name: option for option in GLOBAL_OPTIONS for name in option.names}
    position = 0
    while position < len(words) and words[position].startswith("-"):
        name, value = split_flag(words[position])
        option = names.get(name)
        position += 1
        if option is None or not option.value:
            continue
        if value is None:
            if position == len(words):
                return found._replace(waiting=option), ()
            value = words[position]
            position += 1
        found = found._replace(project=value) if option.name == "project" else found._replace(config=value)
    return found, words[position:]


def _after_verb(verb: Verb, before: Sequence[str], word: str, known: Known) -> list[Candidate]:
    own = {name: option for option in verb.options for name in option.names}
    waiting = own.get(before[-1]) if before else None
    if waiting is not None and waiting.value:
        return _option_values(waiting, word, known)
    flags = known.flags() if verb.takes_config and _needs_flags(before, word) else ()
    declared = {name: flag for flag in flags for name in flag.names}
    if before and before[-1] in declared and not declared[before[-1]].switch:
        return _matching(dict.fromkeys(declared[before[-1]].choices, ""), word)
    if word.startswith("-"):
        return _flags(verb, own, declared, word, known)
    positional = _open_positional(verb, before, own)
    found = _positional_values(positional, word, known) if positional is not None else []
    if not verb.takes_config or (found and positional is not None and positional.completes == "key"):
        return found  # keys to ask about and keys to set would look alike
    return found + _overrides(word, known)


def _needs_flags(before: Sequence[str], word: str) -> bool:
    """The config's flags are looked up only when the cursor is at a flag or behind one."""
    return word.startswith("-") or (bool(before) and before[-1].startswith("-"))


def _flags(
    verb: Verb, own: Mapping[str, Option], declared: Mapping[str, Flag], word: str, known: Known
) -> list[Candidate]:
    name, value = split_flag(word)
    if value is not None:
        if name in own:
            found = _option_values(own[name], value, known)
        else:
            found = _matching(dict.fromkeys(declared[name].choices if name in declared else (), ""), value)
        return [Candidate(f"{name}={one.text}", one.meaning) for one in found if one is not FILES]
    others = {name: flag.meaning for name, flag in declared.items() if name not in own}
    return _options((*verb.options, _HELP), word) + _matching(others, word)


def _options(options: Iterable[Option], word: str) -> list[Candidate]:
    """Long names always, one-letter names only when one letter was typed: half the list says the same."""
    names = {
        name: option.help
        for option in options
        for name in option.names
        if name.startswith("--") or (len(word) == 2 and not word.startswith("--"))  # noqa: PLR2004 - a dash and a letter
    }
    return _matching(names, word)


def _option_values(option: Option, word: str, known: Known) -> list[Candidate]:
    return (
        _matching(dict.fromkeys(option.choices, ""), word) if option.choices else _kind(option.completes, word, known)
    )


def _open_positional(verb: Verb, before: Sequence[str], own: Mapping[str, Option]) -> Positional | None:
    """What the next word without a dash would be."""
    taken = 0
    skip = False
    for earlier in before:
        if skip or is_override(earlier):
            skip = False
        elif earlier.startswith("-"):
            skip = earlier in own and bool(own[earlier].value)
        else:
            taken += 1
    return _at(verb.positionals, taken)


def _positional_values(positional: Positional, word: str, known: Known) -> list[Candidate]:
    if positional.choices:
        return _matching(dict.fromkeys(positional.choices, ""), word)
    return _kind(positional.completes, word, known)


def _at(positionals: Sequence[Positional], position: int) -> Positional | None:
    for positional in positionals:
        if positional.most is None or position < positional.most:
            return positional
        position -= positional.most
    return None


def _kind(kind: str, word: str, known: Known) -> list[Candidate]:
    if kind == "file":
        return [FILES]
    if kind == "key":
        return _keys(word, known, ends=("", "."))
    names: Mapping[str, str] = {}
    if kind == "verb":
        names = {verb.name: verb.summary for verb in known.verbs.all if not verb.hidden}
    elif kind in {"target", "node"}:
        names = known.targets()
    elif kind == "config":
        names = known.configs()
    elif kind == "project":
        names = known.projects()
    return _matching(names, word)


def _matching(names: Mapping[str, str], word: str) -> list[Candidate]:
    return [Candidate(name, meaning) for name, meaning in names.items() if name.startswith(word)]


def _overrides(word: str, known: Known) -> list[Candidate]:
    sign = next((sign for sign in ("++", "+", "~") if word.startswith(sign)), "")
    body = word[len(sign) :]
    key, equals, value = body.partition("=")
    if equals:
        found = [Candidate(f"{key}={one.text}", one.meaning) for one in _values(key, value, known)]
    else:
        groups = [
            Candidate(group if sign == "~" else f"{group}=", f"group, now {current}" if current else "group")
            for group, current in known.groups().items()
            if group.startswith(body) and (current or "+" in sign)  # Hydra wants + for a group nobody chose from yet
        ]
        found = groups + _keys(body, known, ends=("", ".") if sign == "~" else ("=", "."))
        found = list({one.text: one for one in reversed(found)}.values())[::-1]
    return [Candidate(sign + one.text, one.meaning) for one in found] if sign else found


def _values(key: str, word: str, known: Known) -> list[Candidate]:
    if key in known.groups():
        return _matching(known.choices(key), word)
    path = key.split(".")
    value = known.values(path[:-1]).get(path[-1])
    if value is None or value.inner:
        return []
    names = dict.fromkeys(value.choices, "")
    if value.shown in {"true", "false"}:
        names |= dict.fromkeys(("true", "false"), "")
    if value.shown and " " not in value.shown:
        names[value.shown] = "now"
    return _matching(names, word)


def _keys(word: str, known: Known, ends: tuple[str, str]) -> list[Candidate]:
    """The keys that continue a dotted path; ``ends`` are put behind a plain value and behind a mapping."""
    *path, last = word.split(".")
    start = "".join(f"{step}." for step in path)
    plain, inner = ends
    return [
        Candidate(f"{start}{key}{inner if value.inner else plain}", value.shown)
        for key, value in known.values(path).items()
        if key.startswith(last)
    ]
