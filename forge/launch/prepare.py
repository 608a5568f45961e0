"""What a run on a cluster needs before it is handed over: a folder that its nodes share, and a config that goes on when it is begun again."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from forge.base.errors import UsageError
from forge.base.origin import shown_path

if TYPE_CHECKING:
    from collections.abc import Mapping

    from forge.launch.topology import Topology

__all__ = ["begins_again", "on_a_volume"]

_CHECKPOINTS = "checkpoints"


def begins_again(topology: Topology, trainer: Mapping[str, Any], output: str) -> bool:
    """Whether the run may be started several times, and has to be told to go on from its own last checkpoint.

    UsageError where the first start would take up, or a later one remove, what is there.
    """
    if not (topology.requeue or topology.array or topology.max_restarts):
        return False
    if trainer.get("overwrite_output_dir"):
        raise UsageError(
            "a run that may be started again would remove its own checkpoints then",
            hint="leave out --overwrite-output-dir, or let it be started once: launch.requeue=false launch.max_restarts=0",
        )
    if trainer.get("resume_from_checkpoint") is not None:
        return False
    folder = os.path.join(output, _CHECKPOINTS)
    if os.path.isdir(folder) and os.listdir(folder):
        raise UsageError(
            f"{shown_path(folder)} holds checkpoints already",
            hint="continue from them with --resume-from-checkpoint auto, or write elsewhere with --output-dir",
        )
    return True


def on_a_volume(topology: Topology, output: str) -> None:
    """UsageError when what pods write would be gone with them."""
    mounted = [mount.path for mount in topology.mounts if not mount.read_only]
    if any(os.path.join(output, "").startswith(os.path.join(path, "")) for path in mounted):
        return
    where = f"below {' or '.join(mounted)}" if mounted else "on a volume: launch.mounts says which pods have"
    raise UsageError(
        f"the output folder {shown_path(output)} is on no volume that the pods can write to",
        hint=f"set --output-dir to a folder {where}",
    )
