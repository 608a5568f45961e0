"""Whether a checkpoint is what was saved: every file is there, no other is, and each byte is the one that was written."""

from __future__ import annotations

import os
import re
import stat
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from forge.base.errors import CheckpointError
from forge.ml.checkpoint.manifest import MANIFEST, read_manifest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from forge.ml.checkpoint.manifest import Entry, Manifest

__all__ = ["CHECKPOINT", "file_sha256", "problems_of", "verify"]

CHECKPOINT: Final = re.compile(r"checkpoint-(?P<step>\d{1,18})(?:-(?P<attempt>\d{1,9}))?")
_PORTION: Final = 4 << 20
_MOST_THREADS: Final = 8


def verify(folder: str | os.PathLike[str], *, quick: bool = False) -> list[str]:
    """What is wrong with a checkpoint, a sentence for each file; nothing when it is whole.

    ``quick`` looks at the names and sizes only; otherwise every byte is read, several files at a time.
    """
    try:
        manifest = read_manifest(folder)
    except CheckpointError as error:
        return [error.what]
    return problems_of(os.fspath(folder), manifest, quick=quick)


def problems_of(folder: str, manifest: Manifest, *, quick: bool) -> list[str]:
    """What is wrong with a checkpoint whose manifest has been read."""
    found = list(_wrong_shape(folder, manifest))
    if found or quick:
        return found
    largest_first = sorted(manifest.files.items(), key=lambda item: -item[1].size)
    threads = min(_MOST_THREADS, os.cpu_count() or 1, len(largest_first) or 1)
    with ThreadPoolExecutor(threads) as pool:
        wrong = pool.map(lambda item: _wrong_content(folder, *item), largest_first)
    return [problem for problem in wrong if problem is not None]


def file_sha256(path: str | os.PathLike[str]) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    digest = sha256()
    buffer = memoryview(bytearray(_PORTION))
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    try:
        while count := os.readv(handle, [buffer]):
            digest.update(buffer[:count])
    finally:
        os.close(handle)
    return digest.hexdigest()


def _wrong_shape(folder: str, manifest: Manifest) -> Iterator[str]:
    """Everything that can be seen without reading the files."""
    named = CHECKPOINT.fullmatch(os.path.basename(os.path.abspath(folder)))
    if named is not None and int(named["step"]) != manifest.step:
        yield f"{MANIFEST} is of step {manifest.step}: it belongs to another folder"
    try:
        there = dict(_files(folder))
    except OSError as error:
        yield f"{error.filename}: {error.strerror}"
        return
    for name, entry in manifest.files.items():
        found = there.pop(name, None)
        if found is None:
            yield f"{name} is missing"
        elif not stat.S_ISREG(found.st_mode):
            yield f"{name} is not a regular file"
        elif found.st_size != entry.size:
            yield f"{name} has {found.st_size:,} bytes in place of {entry.size:,}"
    yield from (f"{name} was not saved with it" for name in there)


def _files(folder: str, prefix: str = "") -> Iterator[tuple[str, os.stat_result]]:
    """Everything in a folder but hidden files, which no library loads, and the manifest itself."""
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            name = prefix + entry.name
            if entry.name.startswith(".") or name == MANIFEST:
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from _files(entry.path, f"{name}/")
            else:
                yield name, entry.stat(follow_symlinks=False)


def _wrong_content(folder: str, name: str, entry: Entry) -> str | None:
    try:
        if file_sha256(os.path.join(folder, name)) != entry.sha256:
            return f"{name} is not as it was written: its hash differs"
    except OSError as error:
        return f"{name} cannot be read: {error.strerror}"
    return None
