"""From a request to its answer; whatever goes wrong on the way is an answer too."""

from __future__ import annotations

import os
import traceback
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from forge.base.errors import ForgeError, ToolError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ENDED_BY_CTRL_C", "Outcome", "answer_to"]

ENDED_BY_CTRL_C: Final = 130
"""The exit code of a request that was interrupted."""

_FAILED: Final = 1
_MISTAKE: Final = 2
# Where each action is; what it needs is imported when it is asked for.
_ACTIONS: Final = {
    "build": ("forge.ml.workbench.part", "build_part"),
    "peek": ("forge.ml.workbench.peek", "peek_batch"),
    "step": ("forge.ml.workbench.steps", "try_steps"),
}
_LESS_MEMORY: Final = "\n  try a smaller trainer.per_device_train_batch_size or dataset.max_length, or trainer.gradient_checkpointing=true"


class Outcome(NamedTuple):
    """What an action came to: its result, an exit code, what objects printed to standard output, and what went wrong."""

    text: str = ""
    code: int = 0
    printed: str = ""
    error: str = ""


def answer_to(request: dict[str, Any], progress: Callable[[str], None]) -> Outcome:
    """Do what is asked for; only an interrupt is raised."""
    try:
        module, name = _ACTIONS[request["action"]]
        os.chdir(request["folder"])
        action: Callable[..., Outcome] = getattr(import_module(module), name)
        return action(progress, **request["arguments"])
    except Exception as error:  # noqa: BLE001 - what a config names may raise anything
        outcome, expected = _problem(error)
        if request.get("debug") or not expected:
            traceback.print_exception(error)
        return outcome


def _problem(error: Exception) -> tuple[Outcome, bool]:
    """What to say of an error, and whether that is all that its user needs: for what nobody expected it is the traceback."""
    # Where in the config it stands, if it was raised by what that names.
    notes = "".join(f"\n  {note}" for note in getattr(error, "__notes__", ())[:1])
    if isinstance(error, (ForgeError, ValueError, OSError)):
        return Outcome(code=_FAILED if isinstance(error, ToolError) else _MISTAKE, error=f"{error}{notes}"), True
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        said = f"there is too little memory: {_first_line(error)}{notes or _LESS_MEMORY}"
        return Outcome(code=_FAILED, error=said), True
    if isinstance(error, ModuleNotFoundError) and not notes:
        return Outcome(code=_FAILED, error=f"{error}\n  pip install 'forge[train]'"), True
    said = f"{type(error).__name__}: {_first_line(error)}{notes}"
    return Outcome(code=_MISTAKE if notes else _FAILED, error=said), bool(notes)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
