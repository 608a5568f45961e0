"""Reads the words after a verb: its flags and words, Hydra overrides, and the config's own flags, in any order.

Nothing is abbreviated and nothing is guessed: every word is either understood or an error that says what was meant.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from forge.base.errors import UsageError
from forge.base.spelling import did_you_mean, nearest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from forge.cli.options import Option
    from forge.cli.registry import Verb
    from forge.compose.arguments import Argument

__all__ = ["Given", "Parsed", "UnknownFlagError", "is_override", "parse", "split_flag"]

_OVERRIDE = re.compile(r"(?:\+\+|\+|~)?[^\s=+~\-][^\s=]*=|~[^\s=]+\Z", re.DOTALL)
_PLAIN = re.compile(r"[\w./-]+\Z")
_NUMBER = re.compile(r"-\.?\d")
_GLOBAL = {
    "-p": "-p PROJECT",
    "--project": "-p PROJECT",
    "-t": "-t CONFIG",
    "--config": "-t CONFIG",
    "--debug": "--debug",
}


class Given(NamedTuple):
    """A word, an override, or the value of one of the config's own flags, in the order they were typed."""

    text: str
    kind: Literal["word", "override", "flag"] = "word"
    flag: str = ""
    argument: Argument | None = None


@dataclass(slots=True)
class Parsed:
    """What the words after a verb mean."""

    options: dict[str, Any]
    items: list[Given] = field(default_factory=list)
    help: bool = False

    @property
    def words(self) -> list[str]:
        """The words that are neither flags nor overrides."""
        return [item.text for item in self.items if item.kind == "word"]


class UnknownFlagError(UsageError):
    """A flag that neither the verb nor, as far as is known by now, the config has."""

    def __init__(self, flag: str, known: Mapping[str, str], verb: Verb) -> None:
        self.misplaced = _GLOBAL.get(flag, "")
        if self.misplaced:
            hint = f"{flag} stands before the verb: forge {self.misplaced} {verb.name} ..."
        else:
            hint = _meant(flag, known) or f"`forge {verb.name} --help` lists its flags"
        super().__init__(f"{verb.name} has no flag {flag!r}", hint=hint)
        self.flag = flag


def _meant(flag: str, known: Mapping[str, str]) -> str:
    """``did you mean '--learning-rate'?`` for ``--lr``: by the name of a flag, or by the last word of what it sets."""
    word = flag.lstrip("-").replace("_", "-")
    if not flag.startswith("--"):
        return did_you_mean(flag, known)
    by_word = {name.lstrip("-"): name for name in known if name.startswith("--")}
    by_word |= {sets: name for name, sets in known.items() if sets and sets not in by_word}
    found = nearest(word, by_word, limit=1)
    return f"did you mean {by_word[found[0]]!r}?" if found else ""


def is_override(word: str) -> bool:
    """Whether a word is written as a Hydra override: ``a.b=1``, ``+x=1``, ``++x=1``, ``~y``."""
    return _OVERRIDE.match(word) is not None


def split_flag(word: str) -> tuple[str, str | None]:
    """``--format=svg`` as its name and its value; the value is None when it is not attached."""
    if not word.startswith("--"):
        return word, None
    name, equals, value = word.partition("=")
    return name, value if equals else None


def parse(verb: Verb, words: Sequence[str], arguments: Sequence[Argument] = ()) -> Parsed:
    """Give every word after a verb its meaning; raise a UsageError for the first one that has none.

    ``arguments`` are the flags that the config declares; where one is called like a flag of the verb, the verb's wins.
    """
    parsed = Parsed({option.name: _default(option) for option in verb.options})
    own = {name: option for option in verb.options for name in option.names}
    declared = {name: argument for argument in arguments for name in argument.flags if name not in own}
    sets = {name: argument.key.rpartition(".")[2].replace("_", "-") for name, argument in declared.items()}
    known = {**dict.fromkeys(own, ""), **sets, "--help": ""}
    rest = iter(words)
    for word in rest:
        if word == "--":
            parsed.items.extend(Given(later) for later in rest)
        elif word in {"-h", "--help"}:
            parsed.help = True
        elif not word.startswith("-") or word == "-":
            parsed.items.append(Given(word, "override" if verb.takes_config and is_override(word) else "word"))
        else:
            _flag(verb, parsed, word, rest, own, declared, known)
    if not parsed.help:
        _place(verb, parsed)
    return parsed


def _default(option: Option) -> object:
    return option.default if option.value else False


def _flag(
    verb: Verb,
    parsed: Parsed,
    word: str,
    rest: Iterator[str],
    own: dict[str, Option],
    declared: dict[str, Argument],
    known: Mapping[str, str],
) -> None:
    name, attached = split_flag(word)
    negated = "--" + name.removeprefix("--no-")
    if name == "--help":
        raise UsageError("--help takes no value", hint="write --help alone")
    if name in own:
        option = own[name]
        parsed.options[option.name] = _option_value(option, name, attached, rest)
    elif name in declared:
        argument = declared[name]
        value = attached
        if value is None:
            value = "true" if argument.type == "bool" else _next_value(name, "a value", rest)
        parsed.items.append(Given(value, "flag", name, argument))
    elif name.startswith("--no-") and negated in declared and declared[negated].type == "bool" and attached is None:
        parsed.items.append(Given("false", "flag", negated, declared[negated]))
    elif not name.startswith("--") and len(name) > 2:  # noqa: PLR2004 - several one-letter flags written as one
        for letter in name[1:]:
            if f"-{letter}" not in own or own[f"-{letter}"].value:
                raise UnknownFlagError(name, known, verb)
            parsed.options[own[f"-{letter}"].name] = True
    else:
        raise UnknownFlagError(name, known, verb)


def _option_value(option: Option, name: str, attached: str | None, rest: Iterator[str]) -> object:
    if not option.value:
        if attached is not None:
            raise UsageError(f"{name} takes no value", hint=f"write {name} alone")
        return True
    text = attached if attached is not None else _next_value(name, option.value, rest)
    if not text:
        raise UsageError(f"{name} needs {option.value}, not an empty text", hint=f"write {name} {option.value}")
    if option.choices and text not in option.choices:
        hint = did_you_mean(text, option.choices) or f"it is one of: {', '.join(option.choices)}"
        raise UsageError(f"{name} cannot be {text!r}", hint=hint)
    try:
        return option.type(text)
    except ValueError:
        kind = "a whole number" if option.type is int else "a number"
        raise UsageError(f"{name} needs {kind}, not {text!r}") from None


def _next_value(name: str, wanted: str, rest: Iterator[str]) -> str:
    value = next(rest, None)
    if value is None or (value.startswith("-") and value != "-" and not _NUMBER.match(value)):
        found = f", and {value!r} follows" if value is not None else ""
        raise UsageError(f"{name} needs {wanted}{found}", hint=f"write {name} {wanted.removeprefix('a ').upper()}")
    return value


def _place(verb: Verb, parsed: Parsed) -> None:
    """Hold the number and the spelling of the words against what the verb declares."""
    words = parsed.words
    if "" in words and not verb.hidden:  # programs ask about a word in the making
        raise UsageError(f"{verb.name} was given an empty word", hint="a variable of the shell may have no value")
    least = sum(positional.least for positional in verb.positionals)
    if len(words) < least:
        missing = verb.positionals[len(words)]
        raise UsageError(f"{verb.name} needs {missing.name}: {missing.help}", hint=_usage_hint(verb))
    most = [positional.most for positional in verb.positionals]
    if None not in most and len(words) > (allowed := sum(count or 0 for count in most)):
        extra = words[allowed]
        hint = _usage_hint(verb)
        if verb.takes_config and not verb.positionals and _PLAIN.match(extra):
            hint = (
                f"an override is written key=value, and a config stands before the verb: forge -t {extra} {verb.name}"
            )
        raise UsageError(f"{verb.name} does not know what to do with {extra!r}", hint=hint)
    for positional, word in zip(verb.positionals, words, strict=False):
        if positional.choices and word not in positional.choices:
            hint = did_you_mean(word, positional.choices) or f"it is one of: {', '.join(positional.choices)}"
            raise UsageError(f"{verb.name} does not know {word!r}", hint=hint)


def _usage_hint(verb: Verb) -> str:
    shown = " ".join(positional.shown for positional in verb.positionals)
    return f"write forge {verb.name} {shown}" if shown else f"`forge {verb.name} --help` shows what it takes"
