"""The record of a job: one JSON file for each run that was started, which stays when the run has ended.

Only its user can read the folder. Several shells may write at once: every change reads the record anew under a lock. A copy lies in
the run folder, for those who find the run there: on another machine, or when the record was forgotten.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime, timezone
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from forge.base.errors import FileError, ForgeError
from forge.base.files import make_private_folder, remove_file, write_atomic
from forge.base.json_file import read_json
from forge.base.locks import claim
from forge.base.origin import shown_path
from forge.base.places import user_data
from forge.control.processes import Identity

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = [
    "JobRecord",
    "add_record",
    "change_record",
    "job_records",
    "jobs_folder",
    "moment",
    "read_copy",
    "read_record",
    "remove_records",
]

_COPY: Final = "job.json"  # in the run folder

_SUFFIX: Final = ".json"
_LOCK: Final = ".lock"
_PATIENCE: Final = 10.0  # seconds; who has the lock writes one small file
_LONGEST: Final = 1 << 20
_PRIVATE: Final = 0o600
_LONGEST_NAME: Final = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRecord:
    """What is known of a job. `process` trains, `keeper` waits for it and writes down how it ended, `starter` was told to begin it.

    One that was handed to a cluster has none of them, and `cluster` says by what it is known there: ``kind`` and what belongs to it.
    """

    id: str = ""
    config: str
    project: str
    overrides: tuple[str, ...] = ()
    run: str
    console: str = ""
    host: str
    user: str
    started: str
    starter: Identity | None = None
    keeper: Identity | None = None
    process: Identity | None = None
    asked: str = ""
    ended: str = ""
    code: int | None = None
    cluster: dict[str, Any] | None = None


def jobs_folder() -> str:
    """The folder of the records."""
    return os.path.join(user_data(), "jobs")


def moment() -> str:
    """The time now, as records have it."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")


def add_record(record: JobRecord) -> JobRecord:
    """Write the record of a new job, under an id after its config: ``tiny-1``, ``tiny-2``."""
    make_private_folder(jobs_folder())
    with _Locked():
        stem = _stem(record.config)
        numbers = [_number(id_, stem) for id_ in _ids()]
        added = replace(record, id=f"{stem}-{max(numbers, default=0) + 1}")
        _write(added)
    return added


def change_record(id_: str, **changes: Any) -> JobRecord | None:
    """Change what a record says; None when it is not there any more."""
    with _Locked():
        record = _load(_path(id_))
        if record is None:
            return None
        changed = replace(record, **changes)
        _write(changed)
    return changed


def remove_records(ids: Iterable[str]) -> None:
    """Forget these jobs."""
    with _Locked():
        for id_ in ids:
            remove_file(_path(id_))


def read_record(id_: str) -> JobRecord | None:
    """The record of a job; None where there is none that can be read."""
    if os.path.basename(id_) != id_:
        return None  # a run folder may be called like a job
    path = _path(id_)
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return _version(path, found.st_ino, found.st_mtime_ns, found.st_size)


def read_copy(run_folder: str) -> JobRecord | None:
    """The record that lies in a run folder; None where there is none that can be read."""
    return _load(os.path.join(run_folder, _COPY))


def job_records() -> list[JobRecord]:
    """Every record, the oldest first; only what has changed since the last time is read."""
    records = [record for id_ in _ids() if (record := read_record(id_)) is not None]
    return sorted(records, key=lambda record: (record.started, record.id))


@lru_cache(maxsize=1024)
def _version(path: str, _inode: int, _changed: int, _size: int) -> JobRecord | None:
    """A record as it was then: it is never changed in place, so that these figures tell its versions apart."""
    return _load(path)


def _load(path: str) -> JobRecord | None:
    try:
        return _from_json(read_json(path, _LONGEST))
    except (ForgeError, ValueError, TypeError):
        return None  # of another version of forge, or damaged: no job that anything could be done with


def _from_json(data: Any) -> JobRecord:
    if not isinstance(data, dict):
        raise TypeError("a record is an object")
    known = {entry.name for entry in fields(JobRecord)}
    found = {name: value for name, value in data.items() if name in known}
    for name in ("starter", "keeper", "process"):
        if found.get(name) is not None:
            found[name] = Identity(*found[name])
    record = JobRecord(**{**found, "overrides": tuple(found.get("overrides", ()))})
    _check(record)
    return record


def _check(record: JobRecord) -> None:
    """TypeError or ValueError where it is none that forge has written: one in a run folder may be anybody's."""
    texts = (getattr(record, entry.name) for entry in fields(JobRecord) if entry.type == "str")
    processes = [who for who in (record.starter, record.keeper, record.process) if who is not None]
    if not all(isinstance(text, str) for text in (*texts, *record.overrides, *(who.start for who in processes))):
        raise TypeError("a text of a record is no text")
    if not all(isinstance(number, int) for number in (record.code or 0, *(who.pid for who in processes))):
        raise TypeError("a number of a record is no number")
    if not isinstance(record.cluster, dict | None):
        raise TypeError("what a cluster knows a job by is an object")
    for time in filter(None, (record.started, record.ended)):
        if datetime.fromisoformat(time).tzinfo is None:
            raise ValueError("a time of a record has no zone")


def _write(record: JobRecord) -> None:
    text = json.dumps(asdict(record), indent=1)
    write_atomic(_path(record.id), text, _PRIVATE)
    if not os.path.isdir(record.run):
        return
    found = read_copy(record.run)  # of a run on several nodes, each of which has a job, the first one's
    if found is None or (found.id, found.started) == (record.id, record.started):
        with contextlib.suppress(FileError):
            write_atomic(os.path.join(record.run, _COPY), text, durable=False)


def _path(id_: str) -> str:
    return os.path.join(jobs_folder(), f"{os.path.basename(id_)}{_SUFFIX}")


def _ids() -> Iterator[str]:
    try:
        names = os.listdir(jobs_folder())
    except OSError:
        return
    yield from (name.removesuffix(_SUFFIX) for name in names if name.endswith(_SUFFIX) and not name.startswith("."))


def _stem(config: str) -> str:
    """The last part of a config's name, as far as it can be typed without quotes."""
    letters = [letter if letter.isalnum() or letter in "_." else "-" for letter in config.rpartition("/")[2]]
    return "".join(letters)[:_LONGEST_NAME].strip("-.") or "job"


def _number(id_: str, stem: str) -> int:
    head, _, number = id_.rpartition("-")
    return int(number) if head == stem and number.isdecimal() else 0


class _Locked:
    """The right to change records, which one process at a time has."""

    def __enter__(self) -> None:
        path = os.path.join(jobs_folder(), _LOCK)
        held = claim(path, wait=_PATIENCE)
        if held is None:
            raise FileError(f"{shown_path(path)} is held by another process")
        self._held = held

    def __exit__(self, *_: object) -> None:
        self._held.release()
