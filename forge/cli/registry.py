"""The verbs: one declarative list for the command line, the shell, the help and the completion.

A verb is a file in a package such as ``forge/cli/verbs`` that holds a `Verb` named ``VERB``. The folder is the list: adding
a file adds a verb. Those files import nothing heavy at the top, so that listing all of them is cheap; the work is imported
by ``run``.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Final

from forge.base.errors import UsageError
from forge.base.spelling import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable

    from forge.cli.options import Option, Positional
    from forge.cli.session import Context

__all__ = ["VERBS", "Registry", "Verb"]


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


class Registry:
    """The verbs of one or more packages; of two with the same name, the one in the later package is meant."""

    def __init__(self, *packages: str) -> None:
        self.packages = packages

    @cached_property
    def _modules(self) -> dict[str, str]:
        """The module of each file, by the name of the file."""
        return {
            file.removesuffix(".py"): f"{package}.{file.removesuffix('.py')}"
            for package in self.packages
            for folder in import_module(package).__path__
            for file in os.listdir(folder)
            if file.endswith(".py") and file != "__init__.py"
        }

    @cached_property
    def all(self) -> tuple[Verb, ...]:
        """Every verb, sorted by name."""
        return tuple(sorted(map(_load, self._modules.values()), key=lambda verb: verb.name))

    def find(self, word: str) -> Verb:
        """The verb with this name or alias; the common case imports that verb's file alone."""
        file = word.strip("_").replace("-", "_")
        if file in self._modules:
            verb = _load(self._modules[file])
            if verb.name == word:
                return verb
        found = next((verb for verb in self.all if word == verb.name or word in verb.aliases), None)
        if found is None:
            names = [name for verb in self.all if not verb.hidden for name in (verb.name, *verb.aliases)]
            hint = did_you_mean(word, names) or "`forge help` lists the verbs"
            raise UsageError(f"there is no verb {word!r}", hint=hint)
        return found


def _load(module: str) -> Verb:
    verb = import_module(module).VERB
    if not isinstance(verb, Verb):
        raise TypeError(f"{module} has no Verb named VERB")
    return verb


VERBS: Final = Registry("forge.cli.verbs")
"""The verbs of the command line."""
