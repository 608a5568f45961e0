"""What may come next on a command line: a pure function of the words, the position, and what is known of the project.

The same function serves bash, zsh, fish and the interactive shell. Override keys are offered one path segment at a time,
so that a large config never floods the list.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from forge.base.errors import UsageError
from forge.cli.known import FILES, FOLDERS, Candidate, Flag
from forge.cli.options import Option
from forge.cli.parse import is_override, split_flag

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from forge.cli.known import Known
    from forge.cli.options import Positional
    from forge.cli.registry import Verb

__all__ = ["GLOBAL_OPTIONS", "Select", "beginning_with", "complete", "split_globals"]


Select: TypeAlias = "Callable[[str, Iterable[str]], Iterable[str]]"
"""Which of some names the word at the cursor may become, in the order in which they are offered."""


GLOBAL_OPTIONS: Final = (
    Option(("-p", "--project"), "a project's folder or name", "PROJECT", completes="project"),
    Option(("-t", "--config"), "a config of the project", "CONFIG", completes="config"),
    Option(("-i", "--interactive"), "open the shell"),
    Option(("-c", "--commands"), "commands for the shell, separated by ;", "TEXT"),
    Option(("--debug",), "show a traceback with every error"),
    Option(("--version",), "print the version"),
    Option(("-h", "--help"), "explain forge, or the verb"),
)
_HELP: Final = GLOBAL_OPTIONS[-1]


def beginning_with(word: str, names: Iterable[str]) -> list[str]:
    """The names that begin with the word, in their order: how bash, zsh and fish complete."""
    return [name for name in names if name.startswith(word)]


def complete(words: Sequence[str], index: int, known: Known, select: Select = beginning_with) -> list[Candidate]:
    """The candidates for ``words[index]``, where ``words`` are those after ``forge``."""
    before, word = words[:index], words[index] if index < len(words) else ""
    offer = _Offer(known, select)
    chosen, rest = split_globals(before)
    if chosen.waiting is not None:
        return offer.of_kind(chosen.waiting.completes, word)
    if not rest:
        return offer.options(GLOBAL_OPTIONS, word) if word.startswith("-") else offer.of_kind("verb", word)
    try:
        verb = known.verbs.find(rest[0])
    except UsageError:
        return []
    return offer.after_verb(verb, rest[1:], word)


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
        if option.name == "project":
            found = found._replace(project=value)
        elif option.name == "config":
            found = found._replace(config=value)
    return found, words[position:]


class _Offer:
    """Finds candidates in what is known, and takes those that the word may become."""

    def __init__(self, known: Known, select: Select) -> None:
        self.known = known
        self.select = select

    def matching(self, names: Mapping[str, str], word: str, kind: str) -> list[Candidate]:
        return [Candidate(name, names[name], kind) for name in self.select(word, names)]

    def of_kind(self, kind: str, word: str) -> list[Candidate]:
        if kind in {"file", "folder"}:
            return [FILES if kind == "file" else FOLDERS]
        if kind == "key":
            return self._keys(word, ends=("", "."))
        if kind in {"target", "node"}:
            return self._targets(word)
        if kind == "source":
            return [*self.matching(self.known.sources(), word, kind), FILES]
        if kind == "verb":
            return self.matching(
                {verb.name: verb.summary for verb in self.known.verbs.all if not verb.hidden}, word, kind
            )
        names: Callable[[], Mapping[str, str]] | None = {
            "config": self.known.configs,
            "project": self.known.projects,
            "override": self.known.overrides,
            "job": self.known.jobs,
        }.get(kind)
        return self.matching(names(), word, kind) if names is not None else []

    def options(self, options: Iterable[Option], word: str) -> list[Candidate]:
        """Long names always, one-letter names only when one letter was typed: half the list says the same."""
        short = len(word) == 2 and not word.startswith("--")  # noqa: PLR2004 - a dash and a letter
        names = {name: option.help for option in options for name in option.names if name.startswith("--") or short}
        return self.matching(names, word, "flag")

    def after_verb(self, verb: Verb, before: Sequence[str], word: str) -> list[Candidate]:
        own = {name: option for option in verb.options for name in option.names}
        waiting = own.get(before[-1]) if before else None
        if waiting is not None and waiting.value:
            return self._option_values(waiting, word)
        flags = self.known.flags() if verb.takes_config and _needs_flags(before, word) else ()
        declared = {name: flag for flag in flags for name in flag.names}
        if before and before[-1] in declared and not declared[before[-1]].switch:
            return self.matching(
                dict.fromkeys(declared[before[-1]].choices, declared[before[-1]].meaning), word, "value"
            )
        if word.startswith("-"):
            return self._flags(verb, own, declared, word)
        positional = _open_positional(verb, before, own)
        found = self._positional_values(positional, word) if positional is not None else []
        if not verb.takes_config or (found and positional is not None and positional.completes == "key"):
            return found  # keys to ask about and keys to set would look alike
        return found + self._overrides(word)

    def _flags(self, verb: Verb, own: Mapping[str, Option], declared: Mapping[str, Flag], word: str) -> list[Candidate]:
        name, value = split_flag(word)
        if value is not None:
            if name in own:
                found = self._option_values(own[name], value)
            else:
                flag = declared.get(name, Flag((), ""))
                found = self.matching(dict.fromkeys(flag.choices, flag.meaning), value, "value")
            return [one._replace(text=f"{name}={one.text}") for one in found if one.text]
        others = {name: flag.meaning for name, flag in declared.items() if name not in own}
        return self.options((*verb.options, _HELP), word) + self.matching(others, word, "flag")

    def _option_values(self, option: Option, word: str) -> list[Candidate]:
        if option.choices:
            return self.matching(dict.fromkeys(option.choices, option.help), word, "value")
        return self.of_kind(option.completes, word)

    def _positional_values(self, positional: Positional, word: str) -> list[Candidate]:
        if positional.choices:
            return self.matching(dict.fromkeys(positional.choices, positional.help), word, "value")
        return self.of_kind(positional.completes, word)

    def _overrides(self, word: str) -> list[Candidate]:
        sign = next((sign for sign in ("++", "+", "~") if word.startswith(sign)), "")
        body = word[len(sign) :]
        key, equals, value = body.partition("=")
        if equals:
            found = [one._replace(text=f"{key}={one.text}") for one in self._values(key, value)]
        else:
            removes = sign == "~"
            # Hydra wants + for a group nobody chose from yet.
            groups = {group: now for group, now in self.known.groups().items() if now or "+" in sign}
            found = [
                Candidate(group if removes else f"{group}=", f"group, now {now}" if now else "group", "group")
                for group in self.select(body, groups)
                for now in (groups[group],)
            ]
            found += self._keys(body, ends=("", ".") if removes else ("=", "."))
            found = list({one.text: one for one in reversed(found)}.values())[::-1]
        return [one._replace(text=sign + one.text) for one in found] if sign else found

    def _values(self, key: str, word: str) -> list[Candidate]:
        groups = self.known.groups()
        if key in groups:
            choices = self.known.choices(key)
            now = {
                name: f"now, {meaning}" if meaning else "now"
                for name, meaning in choices.items()
                if name == groups[key]
            }
            return self.matching({**choices, **now}, word, "choice")
        path = key.split(".")
        value = self.known.values(path[:-1]).get(path[-1])
        if value is None or value.inner:
            return []
        allowed = (*value.choices, *(("true", "false") if value.shown in {"true", "false"} else ()))
        names = dict.fromkeys(allowed, f"in place of {value.shown}" if value.shown else "")
        if value.shown and " " not in value.shown:
            names[value.shown] = ", ".join(part for part in ("now", value.type, value.place) if part)
        return self.matching(names, word, "value")

    def _keys(self, word: str, ends: tuple[str, str]) -> list[Candidate]:
        """The keys that continue a dotted path; ``ends`` are put behind a plain value and behind a mapping."""
        *path, last = word.split(".")
        start = "".join(f"{step}." for step in path)
        plain, inner = ends
        values = self.known.values(path)
        return [
            Candidate(f"{start}{key}{inner if value.inner else plain}", value.meaning, "key")
            for key in self.select(last, values)
            for value in (values[key],)
        ]

    def _targets(self, word: str) -> list[Candidate]:
        """What can be built one step deeper than the word, and the steps that lead to more of it."""
        start, dot, last = word.rpartition(".")
        start += dot
        targets = self.known.targets()
        steps: dict[str, str] = {}
        for name, target in targets.items():
            if name.startswith(start):
                step, deeper, _ = name[len(start) :].partition(".")
                if deeper:
                    steps.setdefault(f"{step}.", "")
                else:
                    steps[step] = target
        return [Candidate(start + step, steps[step], "target") for step in self.select(last, steps)]


def _needs_flags(before: Sequence[str], word: str) -> bool:
    """The config's flags are looked up only when the cursor is at a flag or behind one."""
    return word.startswith("-") or (bool(before) and before[-1].startswith("-"))


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


def _at(positionals: Sequence[Positional], position: int) -> Positional | None:
    for positional in positionals:
        if positional.most is None or position < positional.most:
            return positional
        position -= positional.most
    return None
