"""The verbs: one declarative list for the command line, the shell, the help and the completion.

A verb is a file in ``forge/cli/verbs`` that holds a `Verb` named ``VERB``. The folder is the list: adding a file adds a
verb. Those files import nothing heavy at the top, so that listing all of them is cheap; the work is imported by ``run``.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from typing import TYPE_CHECKING

from forge.base.errors import UsageError
from forge.base.spelling import did_you_mean
from forge.cli import verbs

if TYPE_CHECKING:
    from collections.abc import Callable

    from forge.cli.options import Option, Positional
    from forge.cli.session import Context

__all__ = ["Verb", "all_verbs", "find_verb"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verb:
    """One word of the command line: what it takes, how it is explained, and what it does.

    ``takes_config`` verbs work on the chosen config: they accept Hydra overrides and the config's own flags after the
    verb. ``run`` returns the exit code. ``hidden`` verbs are for programs and stay out of the help.
    """

    name: str
    summary: str
    help: str
    run: Callable[[Context], int]
    aliases: tuple[str, ...] = ()
    options: tuple[Option, ...] = ()
    positionals: tuple[Positional, ...] = ()
    takes_config: bool = False
    hidden: bool = False


@lru_cache(maxsize=1)
def all_verbs() -> tuple[Verb, ...]:
    """Every verb, sorted by name."""
    files = (name for name in os.listdir(os.path.dirname(verbs.__file__)) if name.endswith(".py"))
    found = (_load(name.removesuffix(".py")) for name in files if name != "__init__.py")
    return tuple(sorted(found, key=lambda verb: verb.name))


def find_verb(word: str) -> Verb:
    """The verb with this name or alias; the common case imports that verb's file alone."""
    module = word.strip("_").replace("-", "_")
    if module.isidentifier() and os.path.exists(os.path.join(os.path.dirname(verbs.__file__), f"{module}.py")):
        verb = _load(module)
        if verb.name == word:
            return verb
    found = next((verb for verb in all_verbs() if word == verb.name or word in verb.aliases), None)
    if found is None:
        names = [name for verb in all_verbs() if not verb.hidden for name in (verb.name, *verb.aliases)]
        hint = did_you_mean(word, names) or "`forge --help` lists the verbs"
        raise UsageError(f"there is no verb {word!r}", hint=hint)
    return found


def _load(module: str) -> Verb:
    verb = import_module(f"forge.cli.verbs.{module}").VERB
    if not isinstance(verb, Verb):
        raise TypeError(f"forge.cli.verbs.{module} has no Verb named VERB")
    return verb
