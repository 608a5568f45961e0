"""What ``--dry-run`` prints of a run: lines of shell which, pasted, do what the run would do; what only tells is a comment."""

from __future__ import annotations

import os
import shlex
from itertools import count
from typing import TYPE_CHECKING, Final

from forge.base.origin import shown_path
from forge.base.secrets import masked_override

if TYPE_CHECKING:
    from collections.abc import Sequence

    from forge.api.config import ConfigHandle
    from forge.api.run import PlannedRun
    from forge.launch.local import LocalPlan

__all__ = ["as_comment", "forge_words", "job_lines", "preparing", "run_lines"]

_END: Final = "END_OF_JOB"


def forge_words(config: ConfigHandle, hosts: Sequence[str] = ()) -> list[str]:
    """The words after ``forge`` that train a config as it is changed, and on these hosts."""
    changes = [masked_override(change if isinstance(change, str) else change[0]) for change in config.overrides]
    named = ["--hosts", ",".join(hosts)] if hosts else []
    return ["-p", shown_path(config.project.folder), "-t", config.name, "train", *changes, *named]


def preparing(planned: PlannedRun, hosts: Sequence[str] = ()) -> list[str]:
    """The lines that come first: they make the run folder."""
    from forge.launch.local import LocalLaunch
    from forge.launch.process import module_command

    words = [*forge_words(planned.config, hosts), "--prepare", planned.folder]
    return [
        as_comment(f"{planned.config.name} of {planned.config.project.name}, which writes below {planned.output}"),
        shlex.join(["cd", os.getcwd()]),
        str(LocalLaunch(tuple(module_command("forge", words)))),
    ]


def run_lines(planned: PlannedRun, plan: LocalPlan) -> list[str]:
    """What starts a run on this machine; one that joins others takes the folder that their host has made."""
    if not plan.joins or plan.meeting is None:
        return [*preparing(planned), str(planned.launch)]
    return [
        as_comment(f"{planned.config.name} of {planned.config.project.name}, a run of {plan.meeting.endpoint.host}"),
        as_comment(f"the run folder has the name that it has there, in place of {os.path.basename(planned.folder)}"),
        shlex.join(["cd", os.getcwd()]),
        str(planned.launch),
    ]


def job_lines(script: str) -> list[str]:
    """What hands a script to Slurm."""
    lines = script.removesuffix("\n").split("\n")
    end = next(word for word in (_END + "_" * number for number in count()) if word not in lines)
    return [f"sbatch --parsable <<'{end}'", *lines, end]


def as_comment(text: str) -> str:
    """A text that a shell passes over, also where a name in it goes on in a new line."""
    return "\n".join(f"# {line}" if line else "#" for line in text.split("\n"))
