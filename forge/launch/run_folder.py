"""The folder of a run: what was asked for, what it is made from, and where it ran."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from dataclasses import asdict
from datetime import datetime, timezone
from importlib.metadata import distributions
from typing import TYPE_CHECKING, Any, Final

from forge.base.errors import FileError
from forge.base.files import make_folder, write_atomic
from forge.base.json_file import read_json
from forge.base.new_file import NewFile
from forge.base.origin import shown_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from forge.launch.local import AskedHere, LocalLaunch
    from forge.launch.topology import Topology

__all__ = [
    "RUNS",
    "describe_run",
    "last_run_folder",
    "new_run_folder",
    "read_asked",
    "read_topology",
    "take_folder",
    "topology_file",
]

RUNS: Final = "runs"
_CONFIG: Final = "config.yaml"
_LAUNCH: Final = "launch.json"
_TOPOLOGY: Final = "topology.json"
_LONGEST: Final = 1 << 20
_GIT_SECONDS: Final = 10


def new_run_folder(output: str, config_name: str) -> str:
    """A folder for a run that begins now, named after the time and the config; it is not made yet."""
    began = datetime.now(timezone.utc).astimezone().strftime("%Y%m%d-%H%M%S")
    name = f"{began}-{config_name.replace('/', '-')}"
    path = os.path.join(output, RUNS, name)
    number = 1
    while os.path.exists(path):
        number += 1
        path = os.path.join(output, RUNS, f"{name}-{number}")
    return path


def last_run_folder(output: str, holds: str) -> str | None:
    """The folder of the newest run below an output folder that has a file of this name; None when there is none."""
    runs = os.path.join(output, RUNS)
    names = os.listdir(runs) if os.path.isdir(runs) else []
    found = [name for name in names if os.path.isfile(os.path.join(runs, name, holds))]
    # Two runs may begin within one second: the time in the name does not part them, that of the file does.
    began = len("20240131-235959")
    newest = max(
        found, key=lambda name: (name[:began], os.path.getmtime(os.path.join(runs, name, holds))), default=None
    )
    return None if newest is None else os.path.join(runs, newest)


def take_folder(folder: str, config: str) -> None:
    """Make the folder of a run that begins, with the text of its config in it; FileError where another run has taken it.

    Runs that are planned in the same second have planned the same folder, and who writes the config has it.
    """
    make_folder(folder)
    try:
        with NewFile(os.path.join(folder, _CONFIG), hashed=False) as file:
            file.write(config.encode())
    except FileError as error:
        if not isinstance(error.__cause__, FileExistsError):
            raise
        what = f"another run has just begun in {shown_path(folder)}"
        raise FileError(what, hint="start this one again") from error


def describe_run(folder: str, *, launch: LocalLaunch, project_folder: str) -> None:
    """Write into a run folder what a person wants to know of it: the command, and what it runs on."""
    told = {**asdict(launch), "asked": launch.asked._asdict(), "folder": os.getcwd()}
    write_atomic(os.path.join(folder, _LAUNCH), json.dumps(told, indent=1))
    write_atomic(os.path.join(folder, "env.json"), json.dumps(_environment(project_folder), indent=1))


def read_asked(folder: str) -> tuple[AskedHere, str]:
    """What a run on one machine was asked for, and the folder in which that was; the command itself is for people to read. FileError for anything else."""
    from forge.launch.local import AskedHere

    path = os.path.join(folder, _LAUNCH)
    try:
        told = read_json(path, _LONGEST)
        devices, nproc, words = (told["asked"][name] for name in AskedHere._fields)
        asked = AskedHere(devices and str(devices), nproc and int(nproc), tuple(map(str, words)))
        return asked, str(told["folder"])
    except (ValueError, KeyError, TypeError) as error:
        what = f"{shown_path(path)} does not say how the run was started"
        raise FileError(what, hint="start the run anew: forge train") from error


def topology_file(topology: Topology) -> tuple[str, str]:
    """The file that keeps in a run folder where the run was handed to: its name and text."""
    return _TOPOLOGY, json.dumps(asdict(topology), indent=1)


def read_topology(folder: str) -> Topology | None:
    """Where a run was handed to; None for one of this machine alone. FileError when that cannot be read."""
    from forge.launch.topology import Mount, Topology

    path = os.path.join(folder, _TOPOLOGY)
    if not os.path.exists(path):
        return None
    try:
        found = read_json(path, _LONGEST)
        return Topology(**{**found, "mounts": [Mount(**mount) for mount in found["mounts"]]})
    except (ValueError, TypeError, KeyError) as error:
        raise FileError(f"{shown_path(path)} does not say where the run was: {error}") from error


def _environment(project_folder: str) -> dict[str, Any]:
    """What a result may depend on and no config says."""
    return {
        "python": sys.version,
        "platform": platform.platform(),
        "host": platform.node(),
        "processors": os.cpu_count(),
        "packages": dict(sorted((found.name, found.version) for found in distributions())),
        "git": _git_state(project_folder),
    }


def _git_state(folder: str) -> dict[str, Any] | None:
    """The commit that the project's files are at, and those that differ from it; None outside of a repository."""
    commit = _git(folder, ["rev-parse", "HEAD"])
    if commit is None:
        return None
    return {"commit": commit.strip(), "changed": (_git(folder, ["status", "--porcelain", "."]) or "").splitlines()}


def _git(folder: str, arguments: Sequence[str]) -> str | None:
    # Nothing of the repository's own settings may start a program.
    command = ["git", "-C", folder, "-c", "core.fsmonitor=false", *arguments]
    try:
        done = subprocess.run(  # noqa: S603 - a list, and no shell
            command, capture_output=True, text=True, errors="replace", timeout=_GIT_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
