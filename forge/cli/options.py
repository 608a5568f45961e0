"""What a verb's command line is made of: declared once, read by the parser, the help and the completion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

__all__ = [
    "DEPTH",
    "EDIT",
    "JOB",
    "JSON",
    "ORIGINS",
    "OUTPUT",
    "RECURSIVE",
    "TARGET",
    "Completes",
    "Option",
    "Positional",
    "was_given",
]

Completes: TypeAlias = Literal[
    "", "config", "file", "folder", "job", "key", "node", "override", "project", "shell", "source", "target", "verb"
]
"""What a value may be: completion offers the names of that kind."""


@dataclass(frozen=True, slots=True)
class Option:
    """A flag: a switch when ``value`` is empty, otherwise a flag that takes one value shown under that name."""

    names: tuple[str, ...]
    help: str
    value: str = ""
    choices: tuple[str, ...] = ()
    type: type[str | int | float] = str
    default: str | int | float | bool | None = None
    completes: Completes = ""
    heading: str = "flags"
    """What the help lists it under."""

    @property
    def name(self) -> str:
        """The name under which a verb finds the value: ``--hydra-compat`` is ``hydra_compat``."""
        return max(self.names, key=len).lstrip("-").replace("-", "_")


@dataclass(frozen=True, slots=True)
class Positional:
    """A word without a dash; ``most`` is None when any number may be given."""

    name: str
    help: str
    least: int = 1
    most: int | None = 1
    choices: tuple[str, ...] = ()
    completes: Completes = ""

    @property
    def shown(self) -> str:
        """As the usage line writes it: ``KEY``, ``[KEY]``, ``[PROJECT ...]``."""
        text = self.name if self.most == 1 else f"{self.name} ..."
        return text if self.least else f"[{text}]"


def was_given(value: object) -> bool:
    """Whether this is the value of a flag that was given; 0 is one like any other."""
    return value is not None and value is not False


OUTPUT: Final = Option(("-o", "--output"), "write to this file instead of the terminal", "FILE", completes="file")
EDIT: Final = Option(("-e", "--edit"), "open the result in your editor")
JSON: Final = Option(("--json",), "print JSON for programs")
TARGET: Final = Option(("--target",), "the part of the config to look at, as a dotted path", "KEY", completes="target")
DEPTH: Final = Option(("--depth",), "show at most this many levels", "N", type=int)
RECURSIVE: Final = Option(("-r", "--recursive"), "every project below the current folder, and the shipped ones")
ORIGINS: Final = Option(("--origins",), "say beside each line which file and line it comes from")
JOB: Final = Positional("JOB", "the id of a job; by default the only one that is running", least=0, completes="job")
