"""The texts of ``forge --help`` and ``forge VERB --help``, made from what the verbs declare."""

from __future__ import annotations

import re
import shutil
import textwrap
from typing import TYPE_CHECKING, Final

from forge.base.errors import ForgeError
from forge.cli.registry import VERBS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from forge.cli.options import Option
    from forge.cli.registry import Registry, Verb
    from forge.cli.session import Session
    from forge.compose.arguments import Argument

__all__ = ["argument_help", "overview", "verb_help", "verb_table", "without_program"]

_GLOBAL_FLAGS: Final = (
    ("-p, --project PROJECT", "a project's folder or name; by default the one around the current folder"),
    ("-t, --config CONFIG", "a config of the project, with or without .yaml; by default the project's default config"),
    ("-i, --interactive", "the shell; `forge` alone on a terminal opens it too"),
    ("-c, --commands TEXT", "run commands of the shell, separated by ; and end at the first that fails"),
    ("--debug", "show a traceback with every error (also FORGE_DEBUG=1)"),
    ("--version", "print the version"),
    ("-h, --help", "show this help; `forge VERB --help` explains a verb"),
)
_FLAGS_OF_A_LINE: Final = (
    ("-p, --project PROJECT", "a project's folder or name, for this line"),
    ("-t, --config CONFIG", "a config of the project, for this line"),
    ("--debug", "show a traceback with every error of this line"),
)
_LISTING: Final = ("train", "show", "check", "set")
"""The verbs whose help lists the flags of the config: those that a person changes it with."""
_WIDEST: Final = 100
_LEFT: Final = 30


def overview(verbs: Registry = VERBS) -> str:
    """All verbs in a line each, and the flags that stand before a verb."""
    own = [verb for verb in verbs.all if verb not in VERBS.all]
    in_shell = verbs is not VERBS
    return "\n".join(
        [
            f"usage: {'' if in_shell else 'forge '}[-p PROJECT] [-t CONFIG] VERB ...",
            "",
            *(verb_table("what only the shell has", own) if own else ()),
            *([""] if own else ()),
            *verb_table("verbs", VERBS.all),
            "",
            *_table("flags before the verb", _FLAGS_OF_A_LINE if in_shell else _GLOBAL_FLAGS),
        ]
    )


def without_program(text: str, verbs: Registry) -> str:
    """A text in which ``forge VERB`` and ``forge -t CONFIG VERB`` stand as they are typed in the shell."""
    if "forge " not in text:
        return text
    names = "|".join(re.escape(name) for verb in verbs.all for name in (verb.name, *verb.aliases))
    return re.sub(rf"\bforge (?=(?:{names})\b|\[?--?[a-z])", "", text)


def verb_table(title: str, verbs: Iterable[Verb]) -> list[str]:
    """A line for each verb: its names and what it does."""
    rows = [(", ".join((verb.name, *verb.aliases)), verb.summary) for verb in verbs if not verb.hidden]
    return _table(title, rows)


def verb_help(session: Session, verb: Verb) -> str:
    """How one verb is used, and which flags the config adds, or where those are listed."""
    lines = [_usage(verb), "", *_paragraphs(verb.help)]
    if words := [(positional.shown, positional.help) for positional in verb.positionals]:
        lines += ["", *_table("words", words)]
    flags: dict[str, list[tuple[str, str]]] = {"flags": []}
    for option in verb.options:
        flags.setdefault(option.heading, []).append((_shown(option), _explained(option)))
    flags["flags"].append(("-h, --help", "show this help"))
    for heading, rows in flags.items():
        lines += ["", *_table(heading, rows)]
    if verb.name in _LISTING:
        lines += ["", *_config_part(session, verb)]
    elif verb.takes_config:
        lines += ["", "The config's own flags mean the same here: forge -t CONFIG train --help lists them."]
    text = "\n".join(lines)
    return text if session.verbs is VERBS else without_program(text, session.verbs)


def _usage(verb: Verb) -> str:
    words = [positional.shown for positional in verb.positionals]
    if verb.takes_config:
        words.append("[OVERRIDE ...]")
    start = "usage: forge [-p PROJECT] [-t CONFIG]" if verb.takes_config else "usage: forge [-p PROJECT]"
    return " ".join([start, "|".join((verb.name, *verb.aliases)), "[FLAG ...]", *words])


def _config_part(session: Session, verb: Verb) -> list[str]:
    from forge.cli.session import project_of  # session names this module

    try:
        handle = project_of(session).config(session.config, *session.overrides)
        arguments = handle.arguments
    except ForgeError as error:
        return [f"The config's own flags are not known: {str(error).splitlines()[0]}"]
    taken = {name for option in verb.options for name in option.names}
    rows = []
    for argument in arguments:
        names = [name for name in argument.flags if name not in taken]
        if names:
            value = "" if argument.type == "bool" else f" {argument.type.upper()}"
            rows.append((", ".join(names) + value, argument_help(argument)))
    title = f"flags of {handle.name}"
    return _table(title, rows) if rows else [f"{handle.name} declares no flags of its own."]


def argument_help(argument: Argument) -> str:
    """What one of the config's own flags means: its help, the key it sets, and which values it takes."""
    extra = [f"sets {argument.key}"]
    if argument.choices:
        extra.append(f"one of {', '.join(map(str, argument.choices))}")
    if argument.min is not None:
        extra.append(f"at least {argument.min:g}")
    if argument.max is not None:
        extra.append(f"at most {argument.max:g}")
    if argument.default is not None:
        extra.append(f"default {argument.default}")
    return f"{argument.help} ({'; '.join(extra)})".strip()


def _shown(option: Option) -> str:
    return ", ".join(option.names) + (f" {option.value}" if option.value else "")


def _explained(option: Option) -> str:
    extra = [f"one of {', '.join(option.choices)}"] if option.choices else []
    if option.value and option.default is not None:
        extra.append(f"default {option.default}")
    return f"{option.help} ({'; '.join(extra)})" if extra else option.help


def _width() -> int:
    return min(shutil.get_terminal_size((_WIDEST, 24)).columns, _WIDEST)


def _table(title: str, rows: Iterable[tuple[str, str]]) -> list[str]:
    rows = list(rows)
    left = min(max(len(name) for name, _ in rows), _LEFT)
    lines = [f"{title}:"]
    for name, meaning in rows:
        wrapped = _wrapped(meaning, max(_width() - left - 4, 30)) or [""]
        if len(name) > left:
            lines.append(f"  {name}")
            name = ""  # noqa: PLW2901 - the meaning starts on a line of its own
        lines.append(f"  {name:<{left}}  {wrapped[0]}".rstrip())
        lines += [f"  {'':<{left}}  {line}" for line in wrapped[1:]]
    return lines


def _wrapped(text: str, width: int) -> list[str]:
    """The words in lines; a flag such as --max-steps is one word."""
    return textwrap.wrap(" ".join(text.split()), width, break_on_hyphens=False)


def _paragraphs(text: str) -> list[str]:
    """Wrap prose; lines that begin with spaces are examples and stay as they are."""
    lines: list[str] = []
    for paragraph in text.strip().split("\n\n"):
        if lines:
            lines.append("")
        if paragraph.startswith(" "):
            lines += paragraph.splitlines()
        else:
            lines += _wrapped(paragraph, _width())
    return lines
