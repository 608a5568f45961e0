"""What completion knows and offers: the questions it asks about a project, and the answers as it shows them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from forge.cli.registry import Registry

__all__ = ["FILES", "FOLDERS", "Candidate", "Flag", "Known", "Value"]


class Candidate(NamedTuple):
    """A text that may stand at the cursor, what it means, and what kind of thing it is."""

    text: str
    meaning: str = ""
    kind: str = ""


class Value(NamedTuple):
    """A value of the config as completion shows it.

    ``shown`` is its text, empty for what holds further keys (``inner``); ``choices`` are what a flag says it may be; ``type``
    says what it is, and ``place`` which file and line set it.
    """

    shown: str
    inner: bool = False
    choices: tuple[str, ...] = ()
    type: str = ""
    place: str = ""

    @property
    def meaning(self) -> str:
        """What stands beside its key: ``100, int, trainer/default.yaml:4``."""
        kind = " | ".join(self.choices) or self.type
        return ", ".join(part for part in (self.shown, kind, self.place) if part)


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

    def overrides(self) -> Mapping[str, str]:
        """The keys that are set for every line, with what each is set to."""

    def sources(self) -> Mapping[str, str]:
        """The files that the config is made of, with what each belongs to."""

    def jobs(self) -> Mapping[str, str]:
        """The names of the jobs, with what each does."""


FILES: Final = Candidate("", "a file", "file")
"""Stands for all files: the shell completes those itself."""
FOLDERS: Final = Candidate("", "a folder", "folder")
"""Stands for all folders, in the same way."""
