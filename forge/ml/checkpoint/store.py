"""The checkpoints of one output folder: which there are, which is newest and whole, and who may write more of them."""

from __future__ import annotations

import os
import socket
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from forge.base.errors import CheckpointError, FileError, ResumeError
from forge.base.files import force_to_disk, make_folder, move_folder, remove_file, remove_tree
from forge.base.free_space import free_space
from forge.base.locks import claim
from forge.base.origin import shown_path
from forge.base.sizes import shown_size
from forge.ml.checkpoint.manifest import Manifest, Score, read_manifest
from forge.ml.checkpoint.stage import STAGED, Stage
from forge.ml.checkpoint.verify import CHECKPOINT, problems_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from forge.base.locks import Claim

__all__ = ["LINKED", "Checkpoint", "Store", "open_checkpoint"]

LINKED: Final = "linked"
_WRITER: Final = ".writer.lock"
_CHANGES: Final = ".changes.lock"
_TRASH: Final = ".trash-"
_TEMPORARY: Final = (".forge-", ".tmp")
_LEAST: Final = 2
_PATIENCE: Final = 10.0  # seconds; a change takes milliseconds, and removing a large checkpoint not much longer
_SPARE: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint on disk: valid as far as was looked, or with the reason why not."""

    path: str
    step: int
    order: tuple[float, int, int] = field(repr=False)  # by what it was saved after; the newest is the last
    reason: str = ""
    manifest: Manifest | None = field(default=None, repr=False)
    best: bool = False
    newest: bool = False
    linked: bool = False

    @property
    def name(self) -> str:
        """The name of its folder."""
        return os.path.basename(self.path)

    @property
    def valid(self) -> bool:
        """Whether nothing is wrong with it."""
        return not self.reason

    @property
    def size(self) -> int:
        """The bytes of its files together, as the manifest has them."""
        return sum(entry.size for entry in self.manifest.files.values()) if self.manifest else 0

    @property
    def saved(self) -> str:
        """When it was saved, as ISO 8601 in UTC."""
        return self.manifest.saved if self.manifest else ""

    @property
    def score(self) -> Score | None:
        """What it was measured at, when it was."""
        return self.manifest.score if self.manifest else None

    @property
    def facts(self) -> dict[str, Any]:
        """What the run wrote down about it."""
        return self.manifest.facts if self.manifest else {}


class Store:
    """A folder of checkpoints. Anybody may read it; one process at a time writes to it, for which it holds a lock.

    `begin` takes the lock by itself, and keeps it until `release` or the end of the process.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = os.path.abspath(folder)
        self._claim: Claim | None = None
        self._staged: set[str] = set()

    # ---- looking

    def list(self, *, quick: bool = True, best: int | None = None) -> list[Checkpoint]:
        """All checkpoints, the newest last, with the best and the newest valid one marked.

        ``quick`` looks at manifests, names and sizes, otherwise every byte is read. ``best`` is the step of the best one when
        that is known; by default the scores decide.
        """
        found = _in_order([_look(path, quick=quick) for path in self._paths()])
        valid = [one for one in found if one.valid]
        chosen = _best(valid, best)
        linked = self.linked
        return [
            replace(one, best=one is chosen, newest=bool(valid) and one is valid[-1], linked=one.path == linked)
            for one in found
        ]

    def newest(self, say: Callable[[str], None] | None = None) -> Checkpoint | None:
        """The newest checkpoint of which every byte is right; None when there are no checkpoints at all.

        ``say`` hears a line for each newer one that is skipped, with the reason. Where there are checkpoints and none is
        right, that is a ResumeError: a run never starts from nothing unasked.
        """
        skipped: list[Checkpoint] = []
        found = _in_order([_look(path, quick=True) for path in self._paths()])
        for one in reversed(found):
            checked = _read_through(one)
            if checked.valid:
                return checked
            skipped.append(checked)
            if say is not None:
                say(f"{shown_path(checked.path)} is skipped: {checked.reason}")
        if not found:
            return None
        what = f"none of the {len(found)} checkpoints in {shown_path(self.folder)} can be used"
        raise ResumeError(
            f"{what if len(found) > 1 else 'the only checkpoint cannot be used'}: {skipped[0].name}: {skipped[0].reason}",
            hint="name a checkpoint that is whole, or move these away to start anew",
        )

    @property
    def linked(self) -> str | None:
        """The path of the checkpoint whose files the model folder shows, if any."""
        try:
            target = os.readlink(os.path.join(self.folder, LINKED))
        except OSError:
            return None
        return os.path.join(self.folder, target) if CHECKPOINT.fullmatch(target) else None

    # ---- writing

    def claim(self) -> None:
        """Become the one process that writes here, and remove what earlier ones left half done.

        Another process that has the lock, and still lives, is a CheckpointError at once.
        """
        if self._claim is not None:
            return
        with _as_checkpoint_error():
            make_folder(self.folder, durable=True)
            held = claim(self._lock(_WRITER), f"process {os.getpid()} on {socket.gethostname()}")
            if held is None:
                raise CheckpointError(
                    f"{shown_path(self.folder)} is being written to by {self._writer()}",
                    hint="wait for that run to end, or choose another output folder",
                )
            try:
                self._sweep()
            except BaseException:
                held.release()
                raise
        self._claim = held

    def release(self) -> None:
        """Let another process write here."""
        if self._claim is not None:
            self._claim.release()
            self._claim = None

    def begin(self, step: int, size: int = 0) -> Stage:
        """Start a checkpoint of a step; ``size``, where it is known, is refused when the disk has no room for it."""
        self.claim()
        _check_room(self.folder, size)
        stage = Stage(self.folder, step, lambda: self._place(step))
        self._staged.add(os.path.basename(stage.path))
        return stage

    def clean(self) -> Sequence[str]:
        """Remove what killed processes left behind, and return its names; while a process writes here, nothing is removed."""
        if not os.path.isdir(self.folder):
            return []
        with _as_checkpoint_error():
            if self._claim is not None:
                return self._sweep()
            held = claim(self._lock(_WRITER))
            if held is None:
                return []
            try:
                return self._sweep()
            finally:
                held.release()

    # ---- removing

    def prune(self, limit: int | None, best: int | None = None) -> Sequence[str]:
        """Remove the oldest checkpoints until ``limit`` are left, and return their paths.

        The best, the one that is linked and the two newest always stay. One that is not valid is neither counted nor removed.
        """
        if limit is None:
            return []
        with self.changing():
            valid = [one for one in self.list(best=best) if one.valid]
            keep = {one.path for one in valid[-_LEAST:]} | {one.path for one in valid if one.best or one.linked}
            gone = [one.path for one in valid if one.path not in keep][: max(0, len(valid) - limit)]
            for path in gone:
                self._remove(path)
        return gone

    def remove(self, paths: Sequence[str], *, force: bool = False) -> None:
        """Remove checkpoints; the last valid one, and the linked one, only with ``force``."""
        wanted = [os.path.abspath(path) for path in paths]
        with self.changing():
            for path in wanted:
                if os.path.dirname(path) != self.folder or path not in self._paths():
                    raise CheckpointError(f"{shown_path(path)} is not a checkpoint of {shown_path(self.folder)}")
            if not force:
                self._refuse_loss(wanted)
            for path in wanted:
                self._remove(path)

    @contextmanager
    def changing(self) -> Iterator[None]:
        """For as long as it lasts, nobody else removes or links a checkpoint here."""
        with _as_checkpoint_error():
            held = claim(self._lock(_CHANGES), wait=_PATIENCE)
            if held is None:
                raise CheckpointError(
                    f"another process has been changing {shown_path(self.folder)} for {_PATIENCE:g} s"
                )
            try:
                yield
            finally:
                held.release()

    def _refuse_loss(self, wanted: Sequence[str]) -> None:
        if self.linked in wanted:
            raise CheckpointError(
                f"{os.path.basename(self.linked or '')} is linked: without it the model folder has no weights",
                hint="link another one first with `forge ckpt link`, or add --force",
            )
        rest = [path for path in self._paths() if path not in wanted]
        if not _any_valid(rest) and _any_valid(wanted):
            raise CheckpointError(
                "without them no valid checkpoint would be left"
                if len(wanted) > 1
                else "it is the last valid checkpoint",
                hint="add --force to remove it nevertheless",
            )

    def _remove(self, path: str) -> None:
        # First another name, so that what is half removed is never taken for a checkpoint.
        trash = os.path.join(self.folder, f"{_TRASH}{os.path.basename(path)}-{os.urandom(4).hex()}")
        move_folder(path, trash)
        force_to_disk(self.folder)
        remove_tree(trash)

    def _sweep(self) -> Sequence[str]:
        debris = sorted(name for name in os.listdir(self.folder) if _is_debris(name) and name not in self._staged)
        for name in debris:
            path = os.path.join(self.folder, name)
            if os.path.isdir(path) and not os.path.islink(path):
                remove_tree(path)
            else:
                remove_file(path)
        return debris

    def _paths(self) -> Sequence[str]:
        """The folders that are called like checkpoints."""
        try:
            with os.scandir(self.folder) as entries:
                names = [entry.name for entry in entries if CHECKPOINT.fullmatch(entry.name) and entry.is_dir()]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise CheckpointError(f"cannot read {shown_path(self.folder)}: {error.strerror}") from error
        return [os.path.join(self.folder, name) for name in sorted(names)]

    def _place(self, step: int) -> tuple[str, int]:
        """A path that is free, and the next number: a step that was saved before is saved again beside it."""
        manifests = [_look(path, quick=True).manifest for path in self._paths()]
        # Those whose number cannot be read have one too.
        sequence = 1 + max((found.sequence for found in manifests if found), default=0) + manifests.count(None)
        path, attempt = os.path.join(self.folder, f"checkpoint-{step}"), 1
        while os.path.lexists(path):
            attempt += 1
            path = os.path.join(self.folder, f"checkpoint-{step}-{attempt}")
        return path, sequence

    def _lock(self, name: str) -> str:
        return os.path.join(self.folder, name)

    def _writer(self) -> str:
        try:
            with open(self._lock(_WRITER), encoding="utf-8", errors="replace") as file:
                return file.read(200).strip() or "another process"
        except OSError:
            return "another process"


def open_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """The checkpoint in a folder, every byte of it checked; CheckpointError names the file that is not right."""
    if not os.path.isdir(path):
        raise CheckpointError(f"there is no folder {shown_path(path)}", hint="`forge ckpt ls` lists the checkpoints")
    found = _look(os.path.abspath(path), quick=False)
    inner = _inside(path) if found.manifest is None else []
    if inner:
        raise CheckpointError(
            f"{shown_path(path)} cannot be used: it holds checkpoints, and is none",
            hint=f"name one of them, such as {shown_path(inner[-1].path)}",
        )
    if not found.valid:
        raise CheckpointError(
            f"{shown_path(path)} cannot be used: {found.reason}", hint="name another one; `forge ckpt ls` lists them"
        )
    return found


def _inside(path: str | os.PathLike[str]) -> list[Checkpoint]:
    """The checkpoints of an output folder, or in a folder of checkpoints."""
    below = os.path.join(path, "checkpoints")
    return Store(below if os.path.isdir(below) else path).list()


@contextmanager
def _as_checkpoint_error() -> Iterator[None]:
    try:
        yield
    except FileError as error:
        raise CheckpointError(error.what, hint=error.hint) from error
    except OSError as error:
        raise CheckpointError(f"{error.filename}: {error.strerror}") from error


def _any_valid(paths: Sequence[str]) -> bool:
    return any(_look(path, quick=False).valid for path in reversed(paths))


def _look(path: str, *, quick: bool) -> Checkpoint:
    named = CHECKPOINT.fullmatch(os.path.basename(path))
    step, attempt = (int(named["step"]), int(named["attempt"] or 1)) if named else (0, 1)
    try:
        manifest = read_manifest(path)
    except CheckpointError as error:
        return Checkpoint(path, step, (-1, step, attempt), error.what)
    order = (manifest.sequence, step, attempt)
    problems = problems_of(path, manifest, quick=quick)
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return Checkpoint(path, manifest.step, order, problems[0] + more if problems else "", manifest)


def _read_through(found: Checkpoint) -> Checkpoint:
    return _look(found.path, quick=False) if found.valid else found


def _in_order(found: list[Checkpoint]) -> list[Checkpoint]:
    """The newest last; one whose manifest cannot be read stands after those of the steps before its own."""
    known = [one for one in found if one.manifest]
    placed = [one if one.manifest else replace(one, order=(_guessed(one, known), *one.order[1:])) for one in found]
    return sorted(placed, key=lambda one: one.order)


def _guessed(lost: Checkpoint, known: list[Checkpoint]) -> float:
    return max((one.order[0] for one in known if one.step <= lost.step), default=0) + 0.5


def _best(valid: list[Checkpoint], step: int | None) -> Checkpoint | None:
    """The newest of the best step; where nothing was saved then, that with the best score."""
    best = next((one for one in reversed(valid) if one.step == step), None)
    if best is not None:
        return best
    for one in valid:
        if one.score is None:
            continue
        if best is None or best.score is None or best.score.name != one.score.name or one.score.beats(best.score):
            best = one
    return best


def _is_debris(name: str) -> bool:
    prefix, suffix = _TEMPORARY
    return name.startswith((STAGED, _TRASH)) or (name.startswith(prefix) and name.endswith(suffix))


def _check_room(folder: str, size: int) -> None:
    free = free_space(folder)
    if free is not None and size and size + _SPARE > free:
        raise CheckpointError(
            f"{shown_path(folder)} has {shown_size(free)} of free space, and a checkpoint needs {shown_size(size + _SPARE)}",
            hint="free some space, keep fewer checkpoints with --save-total-limit, or write to another place",
        )
