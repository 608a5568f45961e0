"""What a run does for those who look after it from outside: it says how far it is, and answers requests for a checkpoint."""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING, Any, Final

from forge.base.errors import FileError, ForgeError
from forge.base.files import read_bounded
from forge.control.door import Door
from forge.control.progress import RunProgress, write_progress
from forge.control.requests import SAVE_FILE, SaveAnswer, write_answers
from forge.ml.checkpoint.verify import CHECKPOINT
from forge.ml.train.callback import Callback

if TYPE_CHECKING:
    from forge.ml.train.run import Run

__all__ = ["Steering"]

_TAKEN: Final = ".save.taken"
_LONGEST: Final = 1000
_SECONDS: Final = 1.0


class Steering(Callback):
    """Part of every run: a request is seen after a step, and answered when its checkpoint is on disk."""

    def __init__(self) -> None:
        self._waiting: list[str] = []  # the tokens of who waits for a checkpoint of this step, or of a later one
        self._step = 0
        self._answers: list[SaveAnswer] = []
        self._failed = False
        self._loss: float | None = None
        self._speed: float | None = None
        self._reported = 0.0
        self._door: Door | None = None

    def begin(self, run: Run) -> None:
        """Say of how many steps the run is."""
        self._report(run)
        run.changes.take(run)
        door = Door(run.folder)
        try:
            door.open()
            self._door = door
        except FileError as error:
            run.progress.say(f"warning: the run is steered through the files in its folder alone: {error}")

    def before_step(self, run: Run) -> None:
        """A checkpoint may just have been written."""
        self._answer(run)

    def after_step(self, run: Run, record: dict[str, Any]) -> None:
        """See whether somebody asks; the loop saves before its next step."""
        self._loss, self._speed = record["loss"], record["tokens_per_second"]
        if time.monotonic() >= self._reported + _SECONDS:
            self._report(run)
        self._heed(run)

    def during_evaluation(self, run: Run) -> None:
        """The same while the run is evaluated, which may take longer than many steps."""
        self._heed(run)

    def end(self, run: Run) -> None:
        """The run takes no more steps: answer whoever is left."""
        self._report(run)
        self._take(run)
        self._answer(run)
        self._tell(run, error="the run has ended")
        run.changes.refuse(run)
        if self._door is not None:
            self._door.close()

    def _heed(self, run: Run) -> None:
        self._answer(run)
        run.changes.take(run)
        if self._take(run):
            run.saver.request()
            self._answer(run)

    def _report(self, run: Run) -> None:
        self._reported = time.monotonic()
        # A disk that is full ends no run; what it cannot take now may fit in a second.
        with contextlib.suppress(FileError):
            write_progress(run.folder, RunProgress(run.step, run.total_steps, self._loss, self._speed))

    def _take(self, run: Run) -> bool:
        """Whether there is a request; it is gone from then on."""
        asked, taken = (os.path.join(run.folder, name) for name in (SAVE_FILE, _TAKEN))
        if self._failed or not os.path.exists(asked):
            return False
        try:
            # Another name first: what is written from now on is another request.
            os.replace(asked, taken)
            self._waiting.append(read_bounded(taken, _LONGEST).decode("ascii", "replace").strip())
        except (OSError, ForgeError) as error:
            self._complain(run, error)
            return False
        self._step = run.step
        return True

    def _answer(self, run: Run) -> None:
        """Answer those whose checkpoint is on disk, or will never be."""
        saver = run.saver
        busy, path = saver.busy, saver.path  # in this order: one that ends in between has its path
        if path is not None and _step_of(path) >= self._step:
            self._tell(run, path=path)
        elif run.counts.saved_step >= self._step and not busy and not saver.requested:
            self._tell(run, error=f"the checkpoint of step {self._step} was not written")

    def _tell(self, run: Run, *, path: str = "", error: str = "") -> None:
        if not self._waiting:
            return
        step = _step_of(path) if path else run.step
        self._answers += [SaveAnswer(token, step, path, error) for token in self._waiting]
        self._waiting.clear()
        try:
            write_answers(run.folder, self._answers)
        except FileError as failure:
            self._complain(run, failure)

    def _complain(self, run: Run, error: OSError | ForgeError) -> None:
        self._failed = True
        run.progress.say(f"warning: requests to save are not answered any more: {error}")


def _step_of(path: str) -> int:
    found = CHECKPOINT.fullmatch(os.path.basename(path))
    return int(found["step"]) if found else -1
