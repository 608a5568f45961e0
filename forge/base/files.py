"""The only writer of forge (large files are `new_file`'s): whole files or nothing; and the bounded reader.

A reader of a file written here sees the old content or the new one, never a part, also when the machine loses power in
between: the bytes are written to a new file in the same folder, forced to disk, and renamed over the old file.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Literal, TextIO

from forge.base.errors import ConfigLimitError, FileError
from forge.base.file_errors import reason_of, unwritable
from forge.base.locks import open_locked
from forge.base.origin import Origin, shown_path

if TYPE_CHECKING:
    import mmap
    from collections.abc import Iterator
    from typing import IO

__all__ = [
    "add_hard_link",
    "add_line",
    "force_to_disk",
    "make_folder",
    "make_new_folder",
    "make_private_folder",
    "map_new_file",
    "move_folder",
    "open_append",
    "open_part",
    "open_regular",
    "open_second",
    "read_bounded",
    "remove_file",
    "remove_tree",
    "replace_symlink",
    "temporary_folder",
    "write_atomic",
    "write_temporary",
    "write_through",
]

_NEW_FILE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
_PART_FILE: Final = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
# A named pipe would block the opener for ever without O_NONBLOCK.
_OLD_FILE: Final = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
_PRIVATE: Final = 0o700
_ELSEWHERE: Final = "name another folder with FORGE_DATA_HOME or FORGE_CACHE_HOME"


def write_atomic(
    path: str | os.PathLike[str],
    data: str | bytes,
    mode: int = 0o644,
    *,
    durable: bool = True,
    follow: bool = True,
) -> None:
    """Replace the file at ``path`` by ``data`` in one step, so that no reader ever sees a part of it.

    ``mode`` are the permissions of the file before the user's umask. ``durable=False`` skips the wait for the disk, for
    files that can be computed again. A symbolic link is followed, so that the file behind it is replaced; without ``follow`` the link
    is, which is right in a folder that others can write to.
    """
    try:
        content = data.encode() if isinstance(data, str) else data
        target = os.path.realpath(path) if follow else os.path.abspath(path)
        _refuse_special(target)
        _write_and_rename(target, content, mode, durable=durable)
    except (OSError, ValueError) as error:
        raise unwritable(path, error) from error


def map_new_file(path: str | os.PathLike[str], size: int, head: bytes = b"") -> mmap.mmap:
    """A new file of this size, zeros behind what it begins with, as memory: what is put there is in the file at once.

    A file that was there is replaced; whoever has mapped it keeps the old one.
    """
    import mmap  # for the few who share memory

    try:
        _write_and_rename(os.path.realpath(path), head.ljust(size, b"\0"), 0o600, durable=False)
        handle = os.open(path, os.O_RDWR | getattr(os, "O_CLOEXEC", 0))
        try:
            return mmap.mmap(handle, size)
        finally:
            os.close(handle)
    except (OSError, ValueError) as error:
        raise unwritable(path, error) from error


def write_through(path: str | os.PathLike[str], text: str) -> None:
    """Write into a pipe, a terminal or a device that is there already; a regular file goes through `write_atomic`."""
    try:
        with open(path, "w", encoding="utf-8") as device:
            device.write(text)
    except (OSError, ValueError) as error:
        raise unwritable(path, error) from error


def open_second(stream: IO[Any], mode: Literal["rb", "wb"]) -> BinaryIO:
    """A second way to what a stream reads or writes, which may be closed while the stream stays open."""
    return os.fdopen(os.dup(stream.fileno()), mode)


def open_append(path: str | os.PathLike[str]) -> TextIO:
    """Open a text file for lines that are added at its end, each handed to the system at once; it is made if need be."""
    try:
        return open(path, "a", encoding="utf-8", buffering=1)
    except (OSError, ValueError) as error:
        raise unwritable(path, error) from error


def open_part(path: str | os.PathLike[str]) -> BinaryIO:
    """Open the part of a file that is there, to add the rest behind it; it is made if need be, and a link is not followed."""
    try:
        return os.fdopen(os.open(path, _PART_FILE, 0o666), "ab", buffering=0)
    except (OSError, ValueError) as error:
        raise unwritable(path, error) from error


def add_line(path: str | os.PathLike[str], line: str, *, most_bytes: int, wait: float = 1.0) -> bool:
    """Add a line to a private file that several processes add to; False when it stayed locked for too long.

    No line is torn and none is lost. When the file has grown beyond ``most_bytes``, the older half of its lines goes.
    """
    try:
        handle = open_locked(path, time.monotonic() + wait)
        if handle is None:
            return False
        try:
            _append(path, handle, line, most_bytes)
        finally:
            os.close(handle)
    except (OSError, ValueError) as error:
        raise unwritable(path, error) from error
    return True


def _append(path: str | os.PathLike[str], handle: int, line: str, most_bytes: int) -> None:
    size = os.fstat(handle).st_size
    # The end of a line may be missing when its writer was killed, or the disk was full.
    torn = size > 0 and os.pread(handle, 1, size - 1) != b"\n"
    _write_all(handle, (b"\n" if torn else b"") + line.encode(errors="replace") + b"\n")
    if size > most_bytes:
        newer = os.pread(handle, most_bytes, max(0, size - most_bytes // 2)).partition(b"\n")[2]
        _write_and_rename(os.path.realpath(path), newer, 0o600, durable=False)


def write_temporary(name: str, text: str) -> str:
    """Write a text to a file of this name in a new private folder, and return its path; the file stays."""
    import tempfile  # the editor's way only

    path = os.path.join(tempfile.mkdtemp(prefix="forge-"), name)
    write_atomic(path, text, durable=False)
    return path


@contextlib.contextmanager
def temporary_folder() -> Iterator[str]:
    """A new private folder that is removed at the end of the block, with what is in it."""
    import tempfile  # as above

    try:
        folder = tempfile.mkdtemp(prefix="forge-")
    except OSError as error:
        raise FileError(
            f"cannot make a temporary folder: {reason_of(error)}", hint="TMPDIR says where they are"
        ) from error
    try:
        yield folder
    finally:
        remove_tree(folder)


def remove_file(path: str | os.PathLike[str]) -> None:
    """Remove a file; nothing happens when it is gone already."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise FileError(f"cannot remove {shown_path(path)}: {reason_of(error)}") from error


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a regular file for reading, and never wait for one that is none; OSError or ValueError as the system has it."""
    handle = os.open(path, _OLD_FILE)
    if stat.S_ISREG(os.fstat(handle).st_mode):
        return os.fdopen(handle, "rb", buffering=0)
    os.close(handle)
    raise OSError(errno.EINVAL, "it is not a regular file")


def read_bounded(path: str | os.PathLike[str], limit: int) -> bytes:
    """The bytes of a regular file, refused when there are more than ``limit`` of them."""
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            # One byte more than allowed shows a file that is longer than it says, or grows while it is read.
            data = _read_up_to(file.fileno(), limit + 1) if size <= limit else None
    except (OSError, ValueError) as error:
        raise FileError(f"cannot read {shown_path(path)}: {reason_of(error)}") from error
    if data is None or len(data) > limit:
        raise ConfigLimitError(f"the file is larger than {limit:,} bytes", origin=Origin(os.fspath(path)))
    return data


def make_folder(path: str | os.PathLike[str], *, durable: bool = False) -> None:
    """Make a folder and the folders above it; nothing happens when it is there.

    ``durable`` waits until those that were made are on disk.
    """
    try:
        missing = list(_missing(os.path.abspath(path))) if durable else []
        _make_all(path)
        for folder in missing:
            _sync(os.path.dirname(folder))
    except (OSError, ValueError) as error:
        raise unwritable(path, error) from error


def make_private_folder(path: str | os.PathLike[str]) -> None:
    """Make a folder that only its user can enter (0700); one that belongs to somebody else is refused."""
    folder = os.fspath(path)
    try:
        _make_all(os.path.dirname(os.path.abspath(folder)))
        with contextlib.suppress(FileExistsError):
            os.mkdir(folder, _PRIVATE)
        link, found = os.lstat(folder), os.stat(folder)
        if not stat.S_ISDIR(found.st_mode):
            raise FileError(f"cannot use {shown_path(folder)}: it is not a folder", hint=f"remove it, or {_ELSEWHERE}")
        if {link.st_uid, found.st_uid} != {os.geteuid()}:
            raise FileError(
                f"cannot use {shown_path(folder)}: it belongs to another user",
                hint=f"remove it, or {_ELSEWHERE}",
            )
        if stat.S_IMODE(found.st_mode) != _PRIVATE:
            os.chmod(folder, _PRIVATE)
    except (OSError, ValueError) as error:
        raise FileError(unwritable(path, error).what, hint=f"let it be written to, or {_ELSEWHERE}") from error


def make_new_folder(path: str | os.PathLike[str]) -> None:
    """Make a folder that must not be there yet."""
    try:
        os.mkdir(path)
    except (OSError, ValueError) as error:
        raise unwritable(path, error) from error


def move_folder(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> None:
    """Give a folder another name below the same folder, in one step; it never takes the place of anything but nothing."""
    try:
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        os.rename(source, target)
    except (OSError, ValueError) as error:
        raise unwritable(target, error) from error


def remove_tree(path: str | os.PathLike[str]) -> None:
    """Remove a folder with all that is in it, links themselves and not what they lead to; it may be gone already."""
    from shutil import rmtree

    try:
        if os.path.islink(path):
            os.unlink(path)
        else:
            rmtree(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise FileError(f"cannot remove {shown_path(path)}: {reason_of(error)}") from error


def add_hard_link(existing: str | os.PathLike[str], path: str | os.PathLike[str]) -> None:
    """Give a file a second name; a symbolic link is copied as a link to the same file."""
    try:
        if os.path.islink(existing):
            os.symlink(os.path.realpath(existing), path)
        else:
            os.link(existing, path)
    except (OSError, ValueError) as error:
        raise unwritable(path, error) from error


def replace_symlink(path: str | os.PathLike[str], target: str) -> None:
    """Let a path be a symbolic link to ``target``; the file or link that was there is replaced in one step."""
    temporary = os.path.join(os.path.dirname(path), f".forge-{os.urandom(8).hex()}.tmp")
    try:
        os.symlink(target, temporary)
        try:
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
    except (OSError, ValueError) as error:
        raise unwritable(path, error) from error


def force_to_disk(path: str | os.PathLike[str]) -> None:
    """Force a file's bytes to disk, or the names in a folder, so that what was made or renamed in it stays so."""
    try:
        _sync(os.fspath(path))
    except (OSError, ValueError) as error:
        raise unwritable(path, error) from error


def _make_all(path: str | os.PathLike[str]) -> None:
    """Make a folder and those above it; for what is there already the system says "File exists" also where it is a file."""
    try:
        os.makedirs(path, exist_ok=True)
    except FileExistsError as error:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)) from error


def _missing(path: str) -> Iterator[str]:
    """The folders on the way to a path that are not there yet, the innermost first."""
    while not os.path.isdir(path) and path != os.path.dirname(path):
        yield path
        path = os.path.dirname(path)


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
        _sync(folder)


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


def _sync(path: str) -> None:
    handle = os.open(path, os.O_RDONLY)
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
