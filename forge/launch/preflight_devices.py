"""What this machine has to compute on, found without torch, and whether the processes of a run fit on it."""

from __future__ import annotations

import os
import re
import subprocess
from shutil import which
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Devices", "devices_here", "misfits", "run_query", "usable_processors"]

_FOLDER: Final = "/dev"
_GPU: Final = re.compile(r"nvidia\d+")
_LISTED: Final = re.compile(r"GPU \d+: ")
_OTHERS: Final = ("kfd", "dxg", "habanalabs", "accel", "neuron0")  # what other makers' devices are seen by
_SECONDS: Final = 20.0
_MASK: Final = "CUDA_VISIBLE_DEVICES"


class Devices(NamedTuple):
    """How many GPUs are here, None where that cannot be told, and how many processors this process may use."""

    gpus: int | None
    processors: int

    @property
    def has_gpus(self) -> bool:
        """Whether there are some, as far as can be told."""
        return bool(self.gpus)


def devices_here(folder: str = _FOLDER) -> Devices:
    """What is on this machine."""
    names = os.listdir(folder) if os.path.isdir(folder) else []
    gpus = sum(1 for name in names if _GPU.fullmatch(name))
    if gpus:
        return Devices(gpus, usable_processors())
    listed = run_query(["nvidia-smi", "-L"])
    if listed is not None:
        return Devices(len(_LISTED.findall(listed)), usable_processors())
    unknown = any(name in names for name in _OTHERS) or not os.path.isdir("/proc")
    return Devices(None if unknown else 0, usable_processors())


def usable_processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def misfits(processes: int, environment: Mapping[str, str], here: Devices) -> tuple[str, str]:
    """What stands in the way of so many processes on this machine, and what to write instead; "" for nothing.

    ``environment`` is that of the processes: CUDA_VISIBLE_DEVICES says on which GPUs they are, and an empty one that they use none.
    """
    mask = environment.get(_MASK)
    if here.gpus is None or mask == "" or (here.gpus == 0 and mask is None):
        return "", ""
    named = None if mask is None else [word.strip() for word in mask.split(",")]
    if here.gpus == 0:
        return f"{_MASK}={mask} names GPUs, and this machine has none", "write -d cpu, or start it where they are"
    absent = [word for word in named or () if word.isdecimal() and int(word) >= here.gpus]
    if absent:
        there = f"there {'is' if here.gpus == 1 else 'are'} {here.gpus}, counted from 0"
        return f"GPU {', '.join(absent)} is not on this machine: {there}", "name those that are there: -d 0,1"
    room = here.gpus if named is None else len(named)
    if processes <= room:
        return "", ""
    return (
        f"{processes} processes do not fit on {room} GPU{'s' * (room != 1)}, each takes one",
        f"start {room}: --nproc {room}, or launch.nproc_per_node={room}",
    )


def run_query(command: list[str], seconds: float = _SECONDS) -> str | None:
    """What a program prints that is asked for something; None where it is missing, fails, or does not end."""
    program = which(command[0])
    if program is None:
        return None
    try:
        done = subprocess.run(  # noqa: S603 - a list, and no shell
            [program, *command[1:]],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
