"""What is done when a run has taken its last step: its result is put where people look for it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from forge.base.errors import CheckpointError, ForgeError
from forge.base.origin import shown_path
from forge.ml.checkpoint.link import link

if TYPE_CHECKING:
    from forge.ml.train.run import Run

__all__ = ["finish"]


def finish(run: Run) -> None:
    """Let the output folder show the newest checkpoint, so that the folder itself is the trained model.

    The folder of the model that was tuned is left as it is: its files are not the run's to replace.
    """
    if run.saver.path is None:
        return
    output = os.path.dirname(run.saver.store.folder)
    if run.settings.save_strategy == "no":  # it was asked for a checkpoint, and that is in the run's own folder
        run.progress.say(f"saved: {shown_path(run.saver.path)}")
        return
    if run.model_path is not None and os.path.realpath(run.model_path) == os.path.realpath(output):
        run.progress.say(f"saved: {shown_path(run.saver.path)}")
        return
    try:
        link(run.saver.store)
    except CheckpointError as error:
        run.progress.say(f"saved: {shown_path(run.saver.path)}; {shown_path(output)} does not show it: {error.what}")
        return
    run.progress.say(f"saved: {shown_path(output)} is the trained model, from {os.path.basename(run.saver.path)}")
    try:
        run.saver.store.prune(run.settings.save_total_limit, run.best.step)  # what was shown until now had to stay
    except ForgeError as error:  # one too many does no harm
        run.progress.say(f"warning: what is older cannot be removed: {error}")
