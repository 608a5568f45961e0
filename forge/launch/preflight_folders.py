"""Whether the folders that a run reads are there, and the one it writes to is its own."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from forge.base.errors import TrustError
from forge.base.old_checkpoints import checkpoint_around, checkpoint_steps, would_mix
from forge.base.origin import shown_path
from forge.base.trust import require_trust
from forge.compose.project import source_packages
from forge.graph.call_check import Finding
from forge.graph.node import Call
from forge.graph.walk import find, walk
from forge.plan.read import origin_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from forge.graph.node import Node
    from forge.plan.read import RunReading

__all__ = ["input_findings", "mixing_findings", "trust_findings"]

_CODE = "preflight"
_MODEL = "forge.ml.models.causal_lm"


def input_findings(root: Node, main: str) -> Iterator[Finding]:
    """An error for each folder that is named and not there: the model to read, the checkpoint to go on from."""
    trainer = find(root, (main,))
    if trainer is None:
        return
    asked = _text(trainer, "resume_from_checkpoint")
    if asked not in {"", "auto"} and not os.path.isdir(asked):
        yield _finding(
            trainer,
            "resume_from_checkpoint",
            f"there is no folder {shown_path(asked)}",
            "`forge ckpt ls` lists the checkpoints",
        )
    for call in walk(trainer):
        if isinstance(call, Call) and call.target == _MODEL:
            path = _text(call, "path")
            if path and not os.path.isdir(path):
                says = f"there is no model folder {shown_path(path)}"
                yield _finding(
                    call, "path", says, "name a folder with config.json and weights; `forge download` gets one"
                )


def mixing_findings(root: Node, reading: RunReading, main: str, output: str) -> Iterator[Finding]:
    """An error for an output folder that holds the checkpoints of another run, or is itself a checkpoint."""
    settings = reading.settings
    around = checkpoint_around(output)
    if around is not None:
        says = f"the run would be written into the checkpoint {shown_path(around)}, which would not be whole then"
        yield _about_output(root, main, says, "write elsewhere with --output-dir")
        return
    steps = checkpoint_steps(output)
    if (
        not steps
        or settings.get("resume_from_checkpoint") is not None
        or settings.get("overwrite_output_dir")
        or settings.get("save_strategy") == "no"
    ):
        return
    error = would_mix(output, steps[-1])
    yield _about_output(root, main, error.what, error.hint or "")


def _about_output(root: Node, main: str, says: str, hint: str) -> Finding:
    return Finding(origin_of(find(root, (main,)), "output_dir"), f"{main}.output_dir", says, hint, "error", _CODE)


def trust_findings(root: Node, main: str, source_folders: Sequence[str]) -> list[Finding]:
    """An error where the run imports code of the project that its user does not trust yet."""
    node = find(root, (main,))
    if node is None:
        return []
    packages = source_packages(source_folders)
    own = [call for call in walk(node) if isinstance(call, Call) and call.target.partition(".")[0] in packages]
    if not own:
        return []
    try:
        for folder in source_folders:
            require_trust(folder)
    except TrustError as error:
        call = own[0]
        return [Finding(call.target_origin or call.origin, call.name, error.what, error.hint or "", "error", _CODE)]
    return []


def _text(node: Node, field: str) -> str:
    found = getattr(find(node, (field,)), "value", None)
    return found if isinstance(found, str) else ""


def _finding(node: Node, field: str, says: str, hint: str) -> Finding:
    key = f"{node.name}.{field}" if node.name else field
    return Finding(origin_of(node, field), key, says, hint, "error", _CODE)
