"""Whose code may be imported: a project's source folder, once its user has said so.

Trust is bound to the folder's real path and to a digest over every file in it, so a changed file asks again.
``__pycache__`` folders do not count: Python writes them, and forge never reads them from a project (see
`forge.build.locate`). What is trusted is one JSON file in the user's data folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import stat
from typing import TYPE_CHECKING, Final

from forge.base.errors import ConfigLimitError, FileError, TrustError
from forge.base.files import make_private_folder, read_bounded, write_atomic
from forge.base.json_file import read_object
from forge.base.origin import shown_path
from forge.base.places import shipped_projects, user_data

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["are_words_trusted", "distrust", "folder_digest", "is_trusted", "require_trust", "trust", "trust_words"]

_STORE_LIMIT: Final = 4 << 20
_FILE_LIMIT: Final = 64 << 20
_MOST_FILES: Final = 10_000
_SHARED_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH


def trust(folder: str | os.PathLike[str]) -> None:
    """Remember that the user trusts the code in a folder as it is now."""
    known = _read_store()
    known[os.path.realpath(folder)] = folder_digest(folder)
    _write_store(known)


def distrust(folder: str | os.PathLike[str]) -> bool:
    """Forget that a folder, or any words of it, was trusted; false when it was not."""
    known, real = _read_store(), os.path.realpath(folder)
    kept = {name: digest for name, digest in known.items() if name != real and not name.startswith(f"{real}\n")}
    if len(kept) == len(known):
        return False
    _write_store(kept)
    return True


def trust_words(folder: str | os.PathLike[str], words: Sequence[str]) -> None:
    """Remember that the user trusts what the files of a project's folder say in these words."""
    _write_store({**_read_store(), **_words_entries(folder, words)})


def are_words_trusted(folder: str | os.PathLike[str], words: Sequence[str]) -> bool:
    """Whether the user trusts each of these very words of a project's folder."""
    return _words_entries(folder, words).keys() <= _read_store().keys()


def _words_entries(folder: str | os.PathLike[str], words: Sequence[str]) -> dict[str, str]:
    real, digests = os.path.realpath(folder), [hashlib.sha256(os.fsencode(word)).hexdigest() for word in words]
    return {f"{real}\n{digest}": digest for digest in digests}


def is_trusted(folder: str | os.PathLike[str], *, shipped: str | None = None) -> bool:
    """Whether the code in a folder is part of forge, or trusted by the user and unchanged since.

    ``shipped`` is the folder of forge's own projects; by default the one that came with this forge.
    """
    real = os.path.realpath(folder)
    own = os.path.realpath(shipped_projects() if shipped is None else shipped)
    if real.startswith(own + os.sep):
        return True
    digest = _read_store().get(real)
    return digest is not None and digest == folder_digest(real)


def require_trust(folder: str | os.PathLike[str], *, project: str = "", shipped: str | None = None) -> None:
    """Raise TrustError unless the code in a folder may be imported; it says how to trust it."""
    if is_trusted(folder, shipped=shipped):
        return
    known = os.path.realpath(folder) in _read_store()
    place = shown_path(os.path.realpath(folder))
    what = (
        f"the code in {place} has changed since you trusted it" if known else f"the code in {place} is not trusted yet"
    )
    # `forge trust` takes a project's folder, and a source folder lies directly below it.
    named = project or shown_path(os.path.dirname(os.path.realpath(folder)))
    raise TrustError(what, hint=f"read it, then run: forge trust {shlex.quote(named)}")


def folder_digest(folder: str | os.PathLike[str]) -> str:
    """A digest over the names and bytes of all files below a folder; TrustError when it cannot stand for them."""
    root = os.path.realpath(folder)
    if not os.path.isdir(root):
        raise TrustError(f"{shown_path(folder)} is not a folder", hint="'source:' in project.yaml names the folder")
    total = hashlib.sha256()
    for count, path in enumerate(_files(root)):
        if count >= _MOST_FILES:
            raise TrustError(
                f"{shown_path(root)} has more than {_MOST_FILES:,} files",
                hint="let 'source:' in project.yaml name a folder that holds Python files only",
            )
        for part in (os.fsencode(os.path.relpath(path, root)), _content(path, root)):
            # The length in front keeps a name from running into the bytes behind it.
            total.update(len(part).to_bytes(8, "big") + part)
    return total.hexdigest()


def _files(root: str) -> list[str]:
    """All files and links below a folder, in an order that does not depend on the file system."""
    found: list[str] = []
    for folder, folders, files in os.walk(root, onerror=_raise):
        linked = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        folders[:] = sorted(name for name in folders if name != "__pycache__")
        found.extend(os.path.join(folder, name) for name in files + linked)
        if len(found) > _MOST_FILES:
            break
    return sorted(found)


def _content(path: str, root: str) -> bytes:
    """What a file contributes to the digest: the text of a link, the bytes of everything else."""
    if os.path.islink(path):
        if not os.path.realpath(path).startswith(root + os.sep):
            raise TrustError(f"{shown_path(path)} is a link that leads out of its folder", hint="copy the file instead")
        return b"link " + os.fsencode(os.readlink(path))
    try:
        return b"file " + read_bounded(path, _FILE_LIMIT)
    except (FileError, ConfigLimitError) as error:
        raise TrustError(
            f"{shown_path(path)} cannot be checked: {error.what}", hint="make it readable, or remove it"
        ) from error


def _raise(error: OSError) -> None:
    raise TrustError(f"{shown_path(error.filename)} cannot be read: {error.strerror}") from error


def _store() -> str:
    return os.path.join(user_data(), "trust.json")


def _read_store() -> dict[str, str]:
    path = _store()
    if not os.path.exists(path):
        return {}
    _refuse_foreign(path)
    try:
        folders = read_object(path, _STORE_LIMIT).get("folders")
    except (FileError, ConfigLimitError) as error:
        raise _damaged(path, error.what) from error
    if not isinstance(folders, dict) or not all(isinstance(value, str) for value in folders.values()):
        raise _damaged(path, "it names no folders")
    return folders


def _write_store(known: dict[str, str]) -> None:
    make_private_folder(user_data())
    text = json.dumps({"version": 1, "folders": known}, indent=2, sort_keys=True)
    write_atomic(_store(), text + "\n", mode=0o600)


def _refuse_foreign(path: str) -> None:
    """A store that others can write would let them decide what this user trusts."""
    for place in (path, os.path.dirname(path)):
        found = os.stat(place)
        if found.st_uid not in {os.geteuid(), 0} or found.st_mode & _SHARED_WRITE:
            raise TrustError(
                f"{shown_path(place)} can be written by other users", hint=f"run: chmod go-w {shown_path(place)}"
            )


def _damaged(path: str, why: str) -> TrustError:
    return TrustError(f"{shown_path(path)} is damaged: {why}", hint="remove it and trust your projects again")
