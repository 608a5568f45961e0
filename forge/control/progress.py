"""How far a run is: a small file in its folder, which the run writes again every second at most."""

from __future__ import annotations

import json
import math
import os
from typing import Any, Final, NamedTuple

from forge.base.errors import ForgeError
from forge.base.files import write_atomic
from forge.base.json_file import read_json

__all__ = ["RunProgress", "progress_of", "sign_of_life", "write_progress"]

_FILE: Final = "progress.json"
_LONGEST: Final = 4096
_LARGEST: Final = 1e300  # that is computed with


class RunProgress(NamedTuple):
    """The last step that was taken, of how many, with its loss and speed; None for what is not known."""

    step: int | None = None
    total: int | None = None
    loss: float | None = None
    tokens_per_second: float | None = None

    @property
    def steps(self) -> str:
        """``40/300``, in few digits whatever the file says; empty before the run is set up."""
        return (
            ""
            if self.step is None
            else f"{self.step:.15g}/{self.total if self.total is None else f'{self.total:.15g}'}"
        )


def write_progress(run_folder: str, progress: RunProgress) -> None:
    """Tell everybody how far the run is."""
    text = json.dumps({name: _finite(value) for name, value in progress._asdict().items()})
    write_atomic(os.path.join(run_folder, _FILE), text, durable=False)


def progress_of(run_folder: str) -> RunProgress:
    """How far the run with this folder is."""
    try:
        found = RunProgress(**read_json(os.path.join(run_folder, _FILE), _LONGEST))
    except (ForgeError, TypeError):
        return RunProgress()
    return found if all(map(_is_figure, found)) else RunProgress()


def sign_of_life(run_folder: str) -> float | None:
    """When the run last said how far it is, in seconds since 1970; None before it has."""
    try:
        return os.stat(os.path.join(run_folder, _FILE)).st_mtime
    except OSError:
        return None


def _is_figure(value: Any) -> bool:
    return value is None or (isinstance(value, (int, float)) and abs(value) < _LARGEST)


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
