"""Whole processes, from the start of the interpreter to its end, in turn with ``python -c "import hydra"``."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple

from timing import Timing

__all__ = ["HYDRA", "NOTHING", "TORCH", "Command", "measure_startup", "suitable_python"]

NOTHING = 'python -c "pass"'
HYDRA = 'python -c "import hydra"'
TORCH = 'python -c "import torch"'
_TIMEOUT = 300


class Command(NamedTuple):
    """A process to time: what it is called, its words, what happens to the cache before, and the exit codes it may have."""

    name: str
    words: tuple[str, ...]
    cold: bool = False
    exits: tuple[int, ...] = (0,)


_VERBS = (
    Command("forge --help", ("--help",)),
    Command("forge ls", ("ls",)),
    Command("forge show, cold", ("show",), cold=True),
    Command("forge show", ("show",)),
    Command("forge graph", ("graph",)),
    Command("forge why", ("why", "trainer.max_steps")),
    Command("forge diff", ("diff", "optimizer=adafactor"), exits=(1,)),
    # Exit code 2 says that something was found: it is what a check is for.
    Command("forge check, first", ("check",), cold=True, exits=(0, 2)),
    Command("forge check", ("check",), exits=(0, 2)),
    Command("forge __complete", ("__complete", "zsh", "1", "show", "optim")),
)


def suitable_python(own: str) -> str:
    """The running interpreter when forge is installed for it, so that torch can be measured too; else the given one."""
    return sys.executable if _can_import(sys.executable, "forge, hydra") and _script(sys.executable) else own


def measure_startup(python: str, project: str, rounds: int, *, peers: bool) -> list[Timing]:
    """Time every command ``rounds`` times, in turn; the files are read once before, so that none of them waits for a disk."""
    imports = [(NOTHING, "pass")]
    if peers:
        imports += [(HYDRA, "import hydra")] + ([(TORCH, "import torch")] if _can_import(python, "torch") else [])
    with tempfile.TemporaryDirectory(prefix="forge-startup-") as home:
        runs = [(Timing(name), Command(name, ()), [python, "-c", code]) for name, code in imports]
        runs += [(Timing(verb.name), verb, [_script(python) or "forge", "-p", project, *verb.words]) for verb in _VERBS]
        for round_number in range(-1, rounds):
            for timing, command, words in runs:
                seconds = None if timing.note else _seconds(timing, command, words, home)
                if seconds is not None and round_number >= 0:
                    timing.seconds.append(seconds)
    return [timing for timing, _, _ in runs]


def _seconds(timing: Timing, command: Command, words: list[str], home: str) -> float | None:
    """How long one process took; None, with a note, when it did not do its work."""
    kinds = {kind: os.path.join(home, kind.lower()) for kind in ("CACHE", "CONFIG", "DATA")}
    if command.cold:
        kinds["CACHE"] = os.path.join(home, "emptied")
        shutil.rmtree(kinds["CACHE"], ignore_errors=True)
    environment = {**os.environ, **{f"FORGE_{kind}_HOME": folder for kind, folder in kinds.items()}}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # an editable forge would be compiled anew by each process
    start = time.perf_counter()
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=_TIMEOUT, check=False)
    seconds = time.perf_counter() - start
    if done.returncode in command.exits:
        return seconds
    lines = (done.stderr or done.stdout).strip().splitlines() or ["no message"]
    timing.note = f"fails: exit {done.returncode}, {lines[-1][:100]}"
    return None


def _script(python: str) -> str | None:
    path = os.path.join(os.path.dirname(python), "forge")
    return path if os.access(path, os.X_OK) else None


def _can_import(python: str, names: str) -> bool:
    return subprocess.run([python, "-c", f"import {names}"], capture_output=True, check=False).returncode == 0
