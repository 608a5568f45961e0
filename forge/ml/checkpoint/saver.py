"""Save a run while it goes on: its tensors are copied at once, and written by a second thread."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from typing import TYPE_CHECKING, Any, Final, Literal

import torch

from forge.base.errors import CheckpointError, ForgeError
from forge.ml.checkpoint.crew import handing_over, take_over
from forge.ml.checkpoint.stage import Stage
from forge.ml.checkpoint.state import STATE_FILE, pack_parts
from forge.ml.checkpoint.tensors import total_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from forge.ml.checkpoint.crew import Crew
    from forge.ml.checkpoint.manifest import Score
    from forge.ml.checkpoint.store import Store

__all__ = ["OnError", "Saver"]

OnError = Literal["fail", "warn"]
_NICENESS: Final = 10


class Saver:
    """Saves checkpoints of a run, one at a time.

    ``keep`` is how many stay (None: all; the best and the two newest always do). With ``asynchronous`` the run goes on as soon as
    its tensors are copied into host memory, which is kept for the next time; what goes wrong while they are written is raised by
    `check` or the next call, or with ``on_error="warn"`` only told to ``say``.

    Of a ``crew`` of several processes each has a saver and asks it to save at the same steps. With ``shared`` each writes the
    files that it gives, and the first makes them a checkpoint; otherwise only those of the first are written.
    """

    def __init__(
        self,
        store: Store,
        *,
        keep: int | None = None,
        asynchronous: bool = True,
        on_error: OnError = "fail",
        say: Callable[[str], None] | None = None,
        crew: Crew | None = None,
        shared: bool = False,
    ) -> None:
        if on_error not in ("fail", "warn"):
            raise ValueError(f"on_error is fail or warn, not {on_error!r}")
        if keep is not None and keep < 1:
            raise ValueError(f"the number of checkpoints to keep is at least 1, not {keep}")
        self.store = store
        self.path: str | None = None
        """The last checkpoint that is on disk."""
        self._keep = keep
        self._asynchronous = asynchronous
        self._on_error = on_error
        self._say = _to_stderr if say is None else say
        self._crew = crew
        self._shared = shared
        self._follows = crew is not None and crew.rank > 0
        self._snapshot = _Snapshot()
        self._thread: threading.Thread | None = None
        self._error: CheckpointError | None = None
        self._step: int | None = None
        self._asked = threading.Event()

    @property
    def busy(self) -> bool:
        """Whether a checkpoint is being written."""
        return self._thread is not None and self._thread.is_alive()

    def request(self) -> None:
        """Ask, from any thread, for a checkpoint; asking again before it is made changes nothing."""
        self._asked.set()

    @property
    def requested(self) -> bool:
        """Whether a checkpoint has been asked for and one can be made now; `save` answers the request."""
        return self._asked.is_set() and not self.busy

    def save(
        self,
        files: Iterable[tuple[str, Mapping[str, torch.Tensor] | bytes]]
        | Callable[[], Iterable[tuple[str, Mapping[str, torch.Tensor] | bytes]]],
        state: Mapping[str, Any] | Callable[[], Mapping[str, Any]],
        step: int,
        facts: Mapping[str, Any] | None = None,
        *,
        score: Score | None = None,
        best: int | None = None,
        wait: bool = False,
        fresh: bool = False,
        urgent: bool = False,
    ) -> None:
        """Save the files of the model and the state of the run as a checkpoint of this step.

        A step that this saver has saved last is not saved again. ``best`` is the step of the best checkpoint where the scores do
        not say. With ``wait`` the checkpoint is on disk when this returns. Tensors that are ``fresh``, which nobody changes any
        more, are not copied. What is ``urgent``, because somebody waits for it, is written as quickly as the machine can; otherwise
        the training comes first.
        """
        self._asked.clear()
        self.wait()
        if self._first_says(step == self._step):
            return
        whole = self._collected(files() if callable(files) else files, state() if callable(state) else state)
        size = sum(len(content) if isinstance(content, bytes) else total_bytes(content) for _, content in whole)
        stage = self._opened(step, sum(self._exchange(size)))
        if stage is None:
            if wait or not self._asynchronous:
                self.wait()
            return
        work = (stage, dict(facts or {}), score, best)
        self._step = step
        if self._asynchronous:
            copied = whole if fresh else self._snapshot.take(whole)
            write = self._write if urgent or wait else self._write_nicely
            self._thread = threading.Thread(target=write, args=(copied, *work), name="forge-save")
            self._thread.start()
        else:
            self._write(whole, *work)
        if wait or not self._asynchronous:
            self.wait()

    def wait(self) -> None:
        """Wait until what is being written is on disk; what went wrong with it is raised here."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        error, self._error = self._error, None
        if error is not None:
            raise error

    def check(self) -> None:
        """Raise what went wrong with what has been written so far, without waiting for what is being written."""
        if not self.busy:
            self.wait()

    def _write_nicely(self, *work: Any) -> None:
        # Where the processor is what trains, the training comes first.
        with contextlib.suppress(AttributeError, OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
        self._write(*work)

    def _write(
        self, files: list[_File], stage: Stage, facts: dict[str, Any], score: Score | None, best: int | None
    ) -> None:
        try:
            with stage:
                if self._follows and self._crew is not None:
                    with handing_over(stage, self._crew.rank):
                        _fill(stage, files)
                    return
                _fill(stage, files)
                if self._shared and self._crew is not None:
                    take_over(stage, self._crew.size)
                self.path = stage.commit(facts, score)
            self._prune(stage.step, best)
        except ForgeError as error:
            self._failed(error, stage.step)
        except Exception as error:  # noqa: BLE001 - in a thread of its own nobody else would hear of it
            self._failed(
                CheckpointError(f"step {stage.step} was not saved: {type(error).__name__}: {error}"), stage.step
            )

    def _prune(self, step: int, best: int | None) -> None:
        """Remove what is too many; where that cannot be, the run goes on, for its last state is on disk."""
        try:
            self.store.prune(self._keep, best)
        except ForgeError as error:
            self._say(f"warning: step {step} is saved, but what is older cannot be removed: {error}")

    def _opened(self, step: int, size: int) -> Stage | None:
        """Where this process writes its files; None when the first could not begin, which is told there."""
        stage = None
        if not self._follows:
            try:
                stage = self.store.begin(step, size)
            except ForgeError as error:
                self._failed(error, step)
        path = self._first_says(stage and stage.path)
        return Stage(self.store.folder, step, None, path) if self._follows and self._shared and path else stage

    def _collected(
        self, files: Iterable[tuple[str, Mapping[str, torch.Tensor] | bytes]], state: Mapping[str, Any]
    ) -> list[_File]:
        """All files of a checkpoint that this process writes: the model's, and those of the run's state."""
        part = "" if self._crew is None or not self._shared else f"-{self._crew.rank + 1:05}-of-{self._crew.size:05}"
        tensors, tree = pack_parts(state, part)
        return [*files, *tensors.items(), *([] if self._follows else [(STATE_FILE, tree)])]

    def _exchange(self, value: Any) -> list[Any]:
        return [value] if self._crew is None else self._crew.exchange(value)

    def _first_says(self, value: Any) -> Any:
        return self._exchange(value)[0]

    def _failed(self, error: ForgeError, step: int) -> None:
        found = error if isinstance(error, CheckpointError) else CheckpointError(error.what, hint=error.hint)
        self._step = None if self._step == step else self._step
        if self._on_error == "warn":
            self._say(f"warning: {found}")
        else:
            self._error = found


_File = tuple[str, "Mapping[str, torch.Tensor] | bytes"]


class _Snapshot:
    """Copies of tensors in host memory that is used again for each of them."""

    def __init__(self) -> None:
        self._copies: dict[tuple[str, str], torch.Tensor] = {}

    def take(self, files: list[_File]) -> list[_File]:
        """The same files with copies of their tensors; those of the last time are overwritten."""
        devices: set[torch.device] = set()
        taken: list[_File] = []
        wanted: dict[tuple[str, str], torch.Tensor] = {}
        for file, content in files:
            if isinstance(content, bytes):
                taken.append((file, content))
                continue
            copies = {}
            for name, tensor in content.items():
                copies[name] = wanted[file, name] = self._copy((file, name), tensor)
                devices.add(tensor.device)
            taken.append((file, copies))
        for device in devices:
            if device.type == "cuda":
                torch.cuda.synchronize(device)
        self._copies = wanted
        return taken

    def _copy(self, key: tuple[str, str], tensor: torch.Tensor) -> torch.Tensor:
        old = self._copies.get(key)
        pinned = tensor.device.type == "cuda"
        if old is None or old.shape != tensor.shape or old.dtype != tensor.dtype:
            old = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=pinned)
        return old.copy_(tensor.detach(), non_blocking=pinned)


def _fill(stage: Stage, files: list[_File]) -> None:
    for name, content in files:
        if isinstance(content, bytes):
            stage.write_bytes(name, content)
        else:
            stage.write_tensors(name, content)


def _to_stderr(text: str) -> None:
    sys.stderr.write(text + "\n")
