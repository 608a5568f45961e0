"""The disk that a run writes to: what kind of one it is, how quick, and how long it takes to be sure that something is on it."""

from __future__ import annotations

import os
import statistics
import time
from typing import TYPE_CHECKING, Final, NamedTuple

from forge.base.errors import FileError
from forge.base.files import read_bounded, remove_file, write_atomic
from forge.base.origin import shown_path
from forge.base.sizes import shown_size
from forge.doctor.row import DoctorRow
from forge.launch.preflight_disk import existing_folder

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Filesystem", "filesystem_of", "leave_token", "sees_token", "storage_rows", "take_token"]

_SECTION: Final = "storage"
_MOUNTS: Final = "/proc/self/mountinfo"
_SHARED: Final = (
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "lustre",
    "gpfs",
    "beegfs",
    "ceph",
    "glusterfs",
    "wekafs",
    "panfs",
    "afs",
    "9p",
    "virtiofs",
    "fuse.",
)
_PASSING: Final = {
    "tmpfs": "is memory: what is there is gone with the machine",
    "overlay": "is gone with its container",
}
_TRIAL: Final = 1 << 20
_MOST: Final = 32 << 20
_SECONDS: Final = 0.3
_SYNCS: Final = 5
_SLOW_SYNC: Final = 0.1
_SLOW: Final = 50e6
_LEAST_FREE: Final = 5e9
_FULL: Final = 0.5e9
_SEES: Final = 5.0
_PAUSE: Final = 0.1
_TOKEN: Final = 256


class Filesystem(NamedTuple):
    """Where a filesystem is mounted, and its kind."""

    place: str
    kind: str

    @property
    def shared(self) -> bool:
        """Whether it is of a kind that several machines may see."""
        return any(self.kind == name or (name.endswith(".") and self.kind.startswith(name)) for name in _SHARED)


def storage_rows(folder: str) -> list[DoctorRow]:
    """Rows for the folder in which runs are, or the innermost folder above it that is there."""
    place = existing_folder(folder)
    rows = [_kind(place), _free(place)]
    if not os.access(place, os.W_OK | os.X_OK):
        says = f"{shown_path(place)} cannot be written to"
        return [*rows, DoctorRow(_SECTION, "writing", "bad", says, "set another --output-dir, or its owner")]
    try:
        return [*rows, *_speed(place)]
    except FileError as error:
        return [*rows, DoctorRow(_SECTION, "writing", "bad", error.what, error.hint or "set another --output-dir")]


def filesystem_of(folder: str, mounts: str = _MOUNTS) -> Filesystem | None:
    """The filesystem that a folder is on; None where the system does not say."""
    try:
        with open(mounts, encoding="utf-8", errors="replace") as file:
            found = [_mount(line) for line in file]
    except OSError:
        return None
    real = os.path.realpath(folder)
    holding = [one for one in found if os.path.join(real, "").startswith(os.path.join(one.place, ""))]
    # Of two at one place, the later one covers the other.
    return max(enumerate(holding), key=lambda one: (len(one[1].place), one[0]))[1] if holding else None


def leave_token(folder: str, token: str) -> str:
    """Write a file into the folder for other hosts to find, and return its path."""
    path = os.path.join(existing_folder(folder), f".forge-doctor-{token[:8]}")
    write_atomic(path, token)
    return path


def sees_token(path: str, token: str, patience: float = _SEES) -> bool:
    """Whether such a file is seen here, at once or after a while: some filesystems are late."""
    end = time.monotonic() + patience
    while True:
        try:
            return read_bounded(path, _TOKEN).decode(errors="replace") == token
        except FileError:
            if time.monotonic() > end:
                return False
        time.sleep(_PAUSE)


def take_token(path: str) -> None:
    """Remove the file again."""
    remove_file(path)


def _mount(line: str) -> Filesystem:
    before, _, after = line.partition(" - ")
    place = before.split()[4].encode().decode("unicode_escape")
    return Filesystem(place, after.split()[0])


def _kind(place: str) -> DoctorRow:
    found = filesystem_of(place)
    if found is None:
        return DoctorRow(_SECTION, "run folder", "good", shown_path(place) or ".")
    says = f"{place} on {found.kind}"
    if found.kind in _PASSING:
        remedy = "write to a disk that stays: --output-dir"
        return DoctorRow(_SECTION, "run folder", "warning", f"{says}, which {_PASSING[found.kind]}", remedy)
    of = "of a kind that several machines may share" if found.shared else "a disk of this machine alone"
    return DoctorRow(_SECTION, "run folder", "good", f"{says}, {of}")


def _free(place: str) -> DoctorRow:
    found = os.statvfs(place)
    free, names = found.f_bavail * found.f_frsize, found.f_favail
    says = f"{shown_size(free)} of {shown_size(found.f_blocks * found.f_frsize)}"
    if found.f_files and names < 1000:  # noqa: PLR2004 - a checkpoint and its run are a hundred files or so
        return DoctorRow(_SECTION, "free space", "bad", f"{says}, but only {names} more files", "remove files there")
    if free < _LEAST_FREE:
        remedy = "free some, or keep fewer checkpoints: --save-total-limit, forge ckpt rm"
        return DoctorRow(_SECTION, "free space", "bad" if free < _FULL else "warning", says, remedy)
    return DoctorRow(_SECTION, "free space", "good", says)


def _speed(place: str) -> list[DoctorRow]:
    """How quickly files are written for sure; what is asked of a slow disk is little."""
    first = _written(place, _TRIAL)
    size = min(_MOST, max(_TRIAL, int(_TRIAL / first * _SECONDS)))
    speed = size / _written(place, size)
    wait = statistics.median(_waits(place))
    says = f"{shown_size(speed)}/s to be sure of {shown_size(size)}"
    remedy = "checkpoints are written in the background (async_save); save less often, or to a quicker disk"
    writing = DoctorRow(_SECTION, "writing", "warning" if speed < _SLOW else "good", says, remedy * (speed < _SLOW))
    says = f"{wait * 1000:.1f} ms to be sure of a small file"
    remedy = "its metadata are slow: save less often, or to another disk"
    late = wait > _SLOW_SYNC
    return [writing, DoctorRow(_SECTION, "fsync", "warning" if late else "good", says, remedy * late)]


def _waits(place: str) -> Iterable[float]:
    began = time.monotonic()
    for _ in range(_SYNCS):
        yield _written(place, 100)
        if time.monotonic() - began > _SECONDS:
            return


def _written(place: str, size: int) -> float:
    """The seconds until so many bytes are on disk."""
    path = os.path.join(place, f".forge-doctor-{os.urandom(8).hex()}")
    piece = os.urandom(min(size, _TRIAL))  # zeros would be kept in less space
    data = piece * (size // len(piece))
    began = time.monotonic()
    try:
        write_atomic(path, data)
        return max(time.monotonic() - began, 1e-6)
    finally:
        remove_file(path)
