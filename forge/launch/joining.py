"""A node that joins a run: the run's folder is there already, made by the node that hosts it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from forge.base.errors import UsageError
from forge.base.origin import shown_path
from forge.control.register import register
from forge.launch.attendance import RollCall
from forge.launch.process import run_command
from forge.launch.rollcall import ask_for_run
from forge.launch.run_folder import RUNS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from forge.launch.local import LocalLaunch
    from forge.launch.torchrun import Meeting

__all__ = ["find_run", "run_joined"]


def find_run(meeting: Meeting, output: str) -> str:
    """The folder of the run that the host has begun, as this node sees it below its own output folder."""
    name = ask_for_run(RollCall(meeting.endpoint, meeting.nodes, meeting.id, ""))
    folder = os.path.join(output, RUNS, name)
    if not os.path.isdir(folder):
        raise UsageError(
            f"the run {name} of {meeting.endpoint.host} is not in {shown_path(os.path.join(output, RUNS))} on this node",
            hint="the output folder has to be on a filesystem that all nodes share: --output-dir",
        )
    return folder


def run_joined(launch: LocalLaunch, *, config: str, project: str, overrides: Sequence[str], run_folder: str) -> int:
    """Run this node's part on this terminal, with a record of its own, and return the exit code."""
    job = register(config=config, project=project, overrides=overrides, run_folder=run_folder)
    try:
        code = run_command(launch.command, environment=launch.environment, begun=job.begun)
    except BaseException:
        job.let_go()
        raise
    job.ended(code)
    return code
