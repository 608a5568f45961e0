"""The only writer of forge: whole files or nothing; and the bounded reader.

A reader of a file written here sees the old content or the new one, never a part, also when the machine loses power in
between: the bytes are written to a new file in the same folder, forced to disk, and renamed over the old file.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import Final, TextIO

from forge.base.errors import ConfigLimitError, FileError
from forge.base.origin import Origin, shown_path

__all__ = [
    "make_folder",
    "make_private_folder",
    "open_append",
    "read_bounded",
    "remove_file",
    "write_atomic",
    "write_temporary",
    "write_through",
]

_NEW_FILE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
# A named pipe would block the opener for ever without O_NONBLOCK.
_OLD_FILE: Final = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
_PRIVATE: Final = 0o700
_HINTS: Final = (
    ({errno.ENOSPC, errno.EDQUOT, errno.EFBIG}, "the disk is full: free some space, or write to another place"),
    (
        {errno.EACCES, errno.EPERM, errno.EROFS},
        "you may not write there: choose another place",
    ),
    ({errno.ENOENT, errno.ENOTDIR}, "the folder is not there: create it first"),
    ({errno.ENAMETOOLONG}, "choose a shorter name"),
)


def write_atomic(path: str | os.PathLike[str], data: str | bytes, mode: int = 0o644, *, durable: bool = True) -> None:
    """Replace the file at ``path`` by ``data`` in one step, so that no reader ever sees a part of it.

    ``mode`` are the permissions of the file before the user's umask. ``durable=False`` skips the wait for the disk, for
    files that can be computed again. A symbolic link is followed, so that the file behind it is replaced.
    """
    content = data.encode() if isinstance(data, str) else data
    try:
        target = os.path.realpath(path)
        _refuse_special(target)
        _write_and_rename(target, content, mode, durable=durable)
    except (OSError, ValueError) as error:
        raise _unwritable(path, error) from error


def write_through(path: str | os.PathLike[str], text: str) -> None:
    """Write into a pipe, a terminal or a device that is there already; a regular file goes through `write_atomic`."""
    try:
        with open(path, "w", encoding="utf-8") as device:
            device.write(text)
    except (OSError, ValueError) as error:
        raise _unwritable(path, error) from error


def open_append(path: str | os.PathLike[str]) -> TextIO:
    """Open a text file for lines that are added at its end, each handed to the system at once; it is made if need be."""
    try:
        return open(path, "a", encoding="utf-8", buffering=1)
    except (OSError, ValueError) as error:
        raise _unwritable(path, error) from error


def write_temporary(name: str, text: str) -> str:
    """Write a text to a file of this name in a new private folder, and return its path; the file stays."""
    import tempfile  # the editor's way only

    path = os.path.join(tempfile.mkdtemp(prefix="forge-"), name)
    write_atomic(path, text, durable=False)
    return path


def remove_file(path: str | os.PathLike[str]) -> None:
    """Remove a file; nothing happens when it is gone already."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise FileError(f"cannot remove {shown_path(path)}: {_reason(error)}") from error


def read_bounded(path: str | os.PathLike[str], limit: int) -> bytes:
    """The bytes of a regular file, refused when there are more than ``limit`` of them."""
    try:
        handle = os.open(path, _OLD_FILE)
        try:
            found = os.fstat(handle)
            if not stat.S_ISREG(found.st_mode):
                raise OSError(errno.EINVAL, "it is not a regular file")
            # One byte more than allowed shows a file that is longer than it says, or grows while it is read.
            data = _read_up_to(handle, limit + 1) if found.st_size <= limit else None
        finally:
            os.close(handle)
    except (OSError, ValueError) as error:
        raise FileError(f"cannot read {shown_path(path)}: {_reason(error)}") from error
    if data is None or len(data) > limit:
        raise ConfigLimitError(f"the file is larger than {limit:,} bytes", origin=Origin(os.fspath(path)))
    return data


def make_folder(path: str | os.PathLike[str]) -> None:
    """Make a folder and the folders above it; nothing happens when it is there."""
    try:
        os.makedirs(path, exist_ok=True)
    except (OSError, ValueError) as error:
        raise _unwritable(path, error) from error


def make_private_folder(path: str | os.PathLike[str]) -> None:
    """Make a folder that only its user can enter (0700); one that belongs to somebody else is refused."""
    folder = os.fspath(path)
    try:
        os.makedirs(os.path.dirname(os.path.abspath(folder)), exist_ok=True)
        with contextlib.suppress(FileExistsError):
            os.mkdir(folder, _PRIVATE)
        link, found = os.lstat(folder), os.stat(folder)
        if not stat.S_ISDIR(found.st_mode):
            raise FileError(f"cannot use {shown_path(folder)}: it is not a folder")
        if {link.st_uid, found.st_uid} != {os.geteuid()}:
            raise FileError(
                f"cannot use {shown_path(folder)}: it belongs to another user",
                hint="remove it, or name another folder with FORGE_DATA_HOME or FORGE_CACHE_HOME",
            )
        if stat.S_IMODE(found.st_mode) != _PRIVATE:
            os.chmod(folder, _PRIVATE)
    except (OSError, ValueError) as error:
        raise _unwritable(path, error) from error


def _write_and_rename(target: str, content: bytes, mode: int, *, durable: bool) -> None:
    folder = os.path.dirname(target)
    # The name is short and random: the target's own name may already have the greatest length there is.
    temporary = os.path.join(folder, f".forge-{os.urandom(8).hex()}.tmp")
    handle = os.open(temporary, _NEW_FILE, mode)
    try:
        with open(handle, "wb", buffering=0) as file:
            _write_all(file.fileno(), content)
            if durable:
                os.fsync(handle)
        os.replace(temporary, target)
    except BaseException:
        # Also on Ctrl-C: a half-written file must not stay behind.
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    if durable:
        _sync_folder(folder)


def _write_all(handle: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(handle, rest) :]


def _read_up_to(handle: int, size: int) -> bytes:
    chunks: list[bytes] = []
    while size > 0 and (chunk := os.read(handle, min(size, 1 << 20))):
        chunks.append(chunk)
        size -= len(chunk)
    return b"".join(chunks)


def _sync_folder(folder: str) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _refuse_special(target: str) -> None:
    """Renaming over a device or a pipe would destroy it (think of ``-o /dev/null`` as root)."""
    try:
        found = os.stat(target)
    except FileNotFoundError:
        return
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, "it is a folder")
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "it is not a regular file")


def _unwritable(path: str | os.PathLike[str], error: OSError | ValueError) -> FileError:
    number = error.errno if isinstance(error, OSError) else None
    hint = next((text for numbers, text in _HINTS if number in numbers), None)
    return FileError(f"cannot write {shown_path(path)}: {_reason(error)}", hint=hint)


def _reason(error: OSError | ValueError) -> str:
    """The operating system's own words, in one line and without the path, which the message already names."""
    return (isinstance(error, OSError) and error.strerror) or str(error)
