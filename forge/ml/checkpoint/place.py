"""Where the checkpoints of a folder are: of an output folder, of a run's folder in it, or of one of themselves."""

from __future__ import annotations

import os
from typing import Final

from forge.base.errors import UsageError
from forge.base.origin import shown_path
from forge.ml.checkpoint.store import Store
from forge.ml.checkpoint.verify import CHECKPOINT

__all__ = ["is_checkpoint", "store_of"]

_CHECKPOINTS: Final = "checkpoints"
_RUNS: Final = "runs"


def store_of(path: str) -> Store:
    """The checkpoints that belong to a folder; UsageError when there are none."""
    path = os.path.abspath(path)
    above = os.path.dirname(path)
    places = [os.path.join(path, _CHECKPOINTS)]
    if os.path.basename(path) == _CHECKPOINTS:
        places.append(path)
    if os.path.basename(above) == _RUNS:
        places.append(os.path.join(os.path.dirname(above), _CHECKPOINTS))
    if is_checkpoint(path):
        places.append(above)
    found = next((place for place in places if os.path.isdir(place)), None)
    if found is None:
        what = "there are no checkpoints in" if os.path.isdir(path) else "there is no folder"
        raise UsageError(f"{what} {shown_path(path)}", hint="name a run's output folder, or one of its checkpoints")
    return Store(found)


def is_checkpoint(path: str) -> bool:
    """Whether a folder is called like a checkpoint."""
    return CHECKPOINT.fullmatch(os.path.basename(os.path.abspath(path))) is not None and os.path.isdir(path)
