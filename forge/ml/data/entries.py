"""The entries of the data cache: which there are, who uses them, and when they go.

For each entry there is a lock, which every process that reads or writes it holds together with the others; its time is that of
the last use. An entry is removed by who has its lock alone, so never while it is used.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from forge.base.errors import FileError
from forge.base.files import make_private_folder, move_folder, remove_file, remove_tree
from forge.base.locks import claim
from forge.base.places import user_cache

if TYPE_CHECKING:
    from collections.abc import Sequence

    from forge.base.locks import Claim

__all__ = ["DAYS", "LARGEST", "CacheEntry", "cache_entries", "cache_folder", "entry_folder", "prune", "use"]

DAYS: Final = 30
"""After so many days without use an entry goes."""

LARGEST: Final = 50_000_000_000
"""Of more bytes than these together, the entries that were not used for longest go."""

_KEY: Final = re.compile(r"[0-9a-f]{32,128}")
_TRASH: Final = ".trash-"
_DAY: Final = 24 * 3600
_PATIENCE: Final = 10.0  # seconds; an entry is removed in less
_USED: Final[dict[str, Claim]] = {}


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """An entry as it is on disk: its bytes, when it was last used (seconds since 1970), and whether it is in use now."""

    key: str
    size: int
    used: float
    in_use: bool = field(default=False, compare=False)


def cache_folder() -> str:
    """Where the entries are."""
    return os.path.join(user_cache(), "data")


def entry_folder(key: str) -> str:
    """The folder of an entry, which need not be there."""
    if not _KEY.fullmatch(key):
        raise ValueError(f"a key is a hash in hexadecimal digits, not {key!r}")
    return os.path.join(cache_folder(), key)


def use(key: str) -> None:
    """Keep an entry, which may be about to be made, from being removed for as long as this process lives."""
    # The parent too is the user's own: what others could exchange there would reach a training run.
    make_private_folder(cache_folder())
    make_private_folder(_locks())
    lock = _lock(key)
    if lock not in _USED:
        held = claim(lock, f"process {os.getpid()}", wait=_PATIENCE, shared=True)
        if held is not None:
            _USED[lock] = held


def cache_entries() -> list[CacheEntry]:
    """All entries, the one that was used last first."""
    found = [_looked_at(key) for key in _keys()]
    return sorted(found, key=lambda one: -one.used)


def prune(largest: int = LARGEST, days: float = DAYS) -> Sequence[CacheEntry]:
    """Remove what was not used for so long, and of what is too large together the least used; an entry in use stays."""
    for name in _names(cache_folder()):
        if name.startswith(_TRASH):  # a process was killed while it removed this
            remove_tree(os.path.join(cache_folder(), name))
    found = cache_entries()
    whole, oldest = sum(one.size for one in found), time.time() - days * _DAY
    gone = []
    for one in reversed(found):
        if one.used >= oldest and whole <= largest:
            break
        if _remove(one.key):
            whole -= one.size
            gone.append(one)
    return gone


def _remove(key: str) -> bool:
    """Remove an entry, unless somebody uses it."""
    make_private_folder(_locks())
    held = claim(_lock(key), None)
    if held is None:
        return False
    folder = entry_folder(key)
    try:
        if os.path.isdir(folder):
            # First another name, so that what is half removed is never taken for an entry.
            trash = os.path.join(cache_folder(), f"{_TRASH}{os.urandom(8).hex()}")
            move_folder(folder, trash)
            remove_tree(trash)
        remove_file(_lock(key))
    finally:
        held.release()
    return True


def _looked_at(key: str) -> CacheEntry:
    folder = entry_folder(key)
    lock, size = _lock(key), _size(folder)
    if not os.path.exists(lock):  # made before there were locks
        return CacheEntry(key, size, _time(folder))
    used = _time(lock)
    held = claim(lock, None)
    if held is None:
        return CacheEntry(key, size, used, in_use=True)
    held.release()
    return CacheEntry(key, size, used)


def _keys() -> list[str]:
    names = {*_names(cache_folder()), *_names(_locks())}
    return sorted(name for name in names if _KEY.fullmatch(name))


def _locks() -> str:
    return os.path.join(user_cache(), "data-in-use")


def _lock(key: str) -> str:
    return os.path.join(_locks(), key)


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise FileError(f"cannot read {folder}: {error.strerror}") from error


def _size(folder: str) -> int:
    total = 0
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as files:
        for file in files:
            total += file.stat().st_size
    return total


def _time(path: str) -> float:
    try:
        return os.stat(path).st_mtime
    except FileNotFoundError:
        return 0.0
