"""Every error forge raises on purpose, as one tree.

    ForgeError
    ├── UsageError                 the command line asks for something that does not exist
    ├── ConfigError                a config cannot be composed
    │   ├── ConfigSyntaxError      a file or an override does not parse
    │   ├── ConfigNotFoundError    a project, config, group or choice is not there
    │   ├── ConfigLimitError       a file is too large, too deep or grows without bound
    │   ├── OverrideError          an override names what the config does not have
    │   └── InterpolationError     a ${...} cannot be resolved
    ├── GraphError                 the composed config is not a graph
    │   ├── CycleError             values need each other
    │   └── MissingValueError      a value is still ???
    ├── PolicyError                a target is refused
    ├── TargetError                an allowed target cannot be found
    ├── TrustError                 a project's own code has not been trusted by this user
    ├── RunError                   a run cannot begin or go on
    │   ├── DataError              rows cannot be trained on
    │   ├── ModelError             a model folder cannot be used
    │   ├── CheckpointError        a checkpoint cannot be written or read
    │   └── ResumeError            a run cannot be continued as it was
    ├── FileError                  a file cannot be read or written
    └── ToolError                  a program forge needs is missing or failed

A message has at most three lines: what is wrong, where it stands (file:line) and what to do; of several things to do each has a line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from forge.base.origin import Origin

__all__ = [
    "CheckpointError",
    "ConfigError",
    "ConfigLimitError",
    "ConfigNotFoundError",
    "ConfigSyntaxError",
    "CycleError",
    "DataError",
    "FileError",
    "ForgeError",
    "GraphError",
    "InterpolationError",
    "MissingValueError",
    "ModelError",
    "OverrideError",
    "PolicyError",
    "ResumeError",
    "RunError",
    "TargetError",
    "ToolError",
    "TrustError",
    "UsageError",
]


class ForgeError(Exception):
    """The root of every error a user can cause; shown as a message, never as a traceback."""

    def __init__(self, what: str, *, origin: Origin | None = None, hint: str | None = None, key: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.origin = origin
        self.hint = hint
        self.key = key

    def __str__(self) -> str:
        """Where and what, then what to do."""
        lines = [": ".join(part for part in (self.where, self.key, self.what) if part)]
        if self.hint:
            lines += [f"  {line}" for line in self.hint.splitlines()]
        return "\n".join(lines)

    @property
    def where(self) -> str:
        """The place of the mistake as ``file:line``, empty when there is none."""
        return str(self.origin) if self.origin is not None else ""


class UsageError(ForgeError):
    """The command line asks for something that does not exist."""


class ConfigError(ForgeError):
    """A config cannot be composed."""


class ConfigSyntaxError(ConfigError):
    """A config file or an override does not parse."""


class ConfigNotFoundError(ConfigError):
    """A project, config, group or choice is not there."""


class ConfigLimitError(ConfigError):
    """A config file is too large, too deep, or grows without bound."""


class OverrideError(ConfigError):
    """An override names something the config does not have."""


class InterpolationError(ConfigError):
    """A ``${...}`` cannot be resolved."""


class GraphError(ForgeError):
    """The composed config is not a graph of objects."""


class CycleError(GraphError):
    """Values of the config need each other."""


class MissingValueError(GraphError):
    """A value is still ``???``."""


class PolicyError(ForgeError):
    """A target is refused by the policy."""


class TargetError(ForgeError):
    """An allowed target cannot be found."""


class TrustError(ForgeError):
    """A project's own code has not been trusted by this user."""


class RunError(ForgeError):
    """A training run cannot begin or go on."""


class DataError(RunError):
    """Rows cannot be trained on."""


class ModelError(RunError):
    """A model folder cannot be used."""


class CheckpointError(RunError):
    """A checkpoint cannot be written or read."""


class ResumeError(RunError):
    """A run cannot be continued as it was."""


class FileError(ForgeError):
    """A file cannot be read or written."""


class ToolError(ForgeError):
    """A program that forge needs is missing or failed."""
