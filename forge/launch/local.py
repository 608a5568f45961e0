"""A run in one process on this machine: the command that starts it, and on which device."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from forge.base.errors import UsageError
from forge.launch.process import module_command

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["LocalLaunch", "local_launch"]


@dataclass(frozen=True, slots=True)
class LocalLaunch:
    """A command with the variables that it needs in its environment."""

    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        """As it can be pasted into a shell."""
        return shlex.join([*(f"{name}={value}" for name, value in self.environment.items()), *self.command])


def local_launch(run_folder: str, devices: str | None) -> LocalLaunch:
    """How to start a run: on ``cpu``, on the GPU with this number, or, with None, on what is there."""
    command = tuple(module_command("forge.ml.train", [run_folder]))
    if devices is None:
        return LocalLaunch(command)
    if devices == "cpu":
        return LocalLaunch(command, {"CUDA_VISIBLE_DEVICES": ""})
    if not all(number.isdecimal() for number in devices.split(",")):
        raise UsageError(f"{devices!r} names no device", hint="write -d cpu, or the number of a GPU: -d 0")
    if "," in devices:
        raise UsageError(
            "a run has one process so far, and that takes one device", hint=f"name one: -d {devices.split(',')[0]}"
        )
    return LocalLaunch(command, {"CUDA_VISIBLE_DEVICES": devices})
