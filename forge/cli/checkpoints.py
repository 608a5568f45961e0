"""The checkpoints in a folder, as the module that knows them lists them, and those that a run has kept in its own folder."""

from __future__ import annotations

import json
import os
import subprocess
from typing import Any, Final

from forge.base.errors import ToolError
from forge.base.origin import shown_path
from forge.launch.process import module_command, module_environment

__all__ = ["kept_checkpoint", "listed_checkpoints"]

_SECONDS: Final = 120


def listed_checkpoints(output: str) -> list[dict[str, Any]]:
    """What the module that knows checkpoints says of those in an output folder."""
    if not os.path.isdir(os.path.join(output, "checkpoints")):
        return []
    command = module_command("forge.ml.checkpoint", ["ls", "--json", os.path.abspath(output)])
    done = subprocess.run(  # noqa: S603 - a list, and no shell
        command, env=module_environment(), capture_output=True, text=True, timeout=_SECONDS, check=False
    )
    if done.returncode:
        raise ToolError(f"the checkpoints in {shown_path(output)} cannot be listed: {done.stderr.strip()[-300:]}")
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def kept_checkpoint(run_folder: str) -> str | None:
    """The newest checkpoint in the folder of a run that saves nothing by itself, and was stopped or asked for one."""
    return next((str(one["path"]) for one in listed_checkpoints(run_folder) if one["newest"]), None)
