"""The only writer of forge: whole files or nothing; and the bounded reader.

A reader of a file written here sees the old content or the new one, never a part, also when the machine loses power in
between: the bytes are written to a new file in the same folder, forced to disk, and renamed over the old file.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
from typing import TYPE_CHECKING, Final, TextIO, final

from forge.base.errors import ConfigLimitError, FileError
from forge.base.origin import Origin, shown_path

if TYPE_CHECKING:
    from collections.abc import Iterator
    from queue import Queue
    from threading import Thread
    from types import TracebackType

__all__ = [
    "Claim",
    "NewFile",
    "add_hard_link",
    "add_line",
    "claim",
    "force_to_disk",
    "make_folder",
    "make_new_folder",
    "make_private_folder",
    "move_folder",
    "open_append",
    "read_bounded",
    "remove_file",
    "remove_tree",
    "replace_symlink",
    "write_atomic",
    "write_temporary",
    "write_through",
]

_NEW_FILE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
# A named pipe would block the opener for ever without O_NONBLOCK.
_OLD_FILE: Final = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
_LOCK_FILE: Final = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
_PRIVATE: Final = 0o700
# Handed to the system, and to the thread that hashes, at a time; the system takes at most 1024 pieces in one call.
_PORTION: Final = 8 << 20
_MOST_PIECES: Final = 512
_AHEAD: Final = 32
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


@final
class NewFile:
    """A file that must not be there yet, written in pieces: its size and SHA-256 are known when it is closed.

    The bytes are on disk when the ``with`` block ends. A block that fails leaves no file behind. What is handed to `write` is
    read until then, partly by a second thread, and must not be changed.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        self.size = 0
        self._digest = _Digest()
        self._pieces: list[memoryview] = []
        self._waiting = 0
        try:
            self._handle = os.open(self.path, _NEW_FILE, 0o644)
        except (OSError, ValueError) as error:
            raise _unwritable(path, error) from error

    @property
    def sha256(self) -> str:
        """The SHA-256 of all bytes, in hexadecimal; for a file that is closed."""
        return self._digest.value

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Add bytes at the end."""
        view = memoryview(data).cast("B")
        for start in range(0, len(view), _PORTION):
            piece = view[start : start + _PORTION]
            self._pieces.append(piece)
            self._waiting += len(piece)
            if self._waiting >= _PORTION or len(self._pieces) >= _MOST_PIECES:
                self._hand_on()

    def __enter__(self) -> NewFile:
        """The file is open already."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Force the bytes to disk, or remove the file when something went wrong."""
        if error is not None:
            self._give_up()
            return
        try:
            self._hand_on()
            self._force()
        except BaseException:
            self._give_up()
            raise

    def _hand_on(self) -> None:
        pieces, self._pieces, self._waiting = self._pieces, [], 0
        self._digest.add(pieces)
        try:
            _write_pieces(self._handle, pieces)
        except OSError as error:
            raise _unwritable(self.path, error) from error
        self.size += sum(map(len, pieces))

    def _force(self) -> None:
        # The rest is hashed while the disk takes what was written.
        try:
            os.fsync(self._handle)
            handle, self._handle = self._handle, -1
            os.close(handle)
        except OSError as error:
            raise _unwritable(self.path, error) from error
        self._digest.end()

    def _give_up(self) -> None:
        self._digest.end()
        with contextlib.suppress(OSError):
            if self._handle >= 0:
                os.close(self._handle)
        with contextlib.suppress(OSError):
            os.unlink(self.path)


class _Digest:
    """SHA-256 of what is written, by a second thread once there is enough of it to be worth one."""

    def __init__(self) -> None:
        from hashlib import sha256  # most who write need no hash

        self._hash = sha256()
        self._queue: Queue[list[memoryview] | None] | None = None
        self._thread: Thread | None = None

    @property
    def value(self) -> str:
        return self._hash.hexdigest()

    def add(self, pieces: list[memoryview]) -> None:
        if self._queue is None and sum(map(len, pieces)) < _PORTION:
            self._update(pieces)
            return
        if self._queue is None:
            self._queue = self._start()
        self._queue.put(pieces)

    def end(self) -> None:
        if self._queue is not None and self._thread is not None:
            self._queue.put(None)
            self._thread.join()
            self._queue = self._thread = None

    def _start(self) -> Queue[list[memoryview] | None]:
        from queue import Queue  # only for large files
        from threading import Thread

        queue: Queue[list[memoryview] | None] = Queue(_AHEAD)
        self._thread = Thread(target=self._work, args=(queue,), name="forge-sha256", daemon=True)
        self._thread.start()
        return queue

    def _work(self, queue: Queue[list[memoryview] | None]) -> None:
        while (pieces := queue.get()) is not None:
            self._update(pieces)

    def _update(self, pieces: list[memoryview]) -> None:
        for piece in pieces:
            self._hash.update(piece)


class Claim:
    """A lock file that this process holds until it lets go of it or ends, however it ends."""

    def __init__(self, handle: int) -> None:
        self._handle = handle

    def release(self) -> None:
        """Let go of it; nothing happens the second time."""
        handle, self._handle = self._handle, -1
        _HELD.discard(self)
        if handle >= 0:
            with contextlib.suppress(OSError):
                os.close(handle)


def _release_all() -> None:
    for held in tuple(_HELD):
        held.release()


# A forked child has the handles too, and would keep the locks when this process is gone.
_HELD: Final[set[Claim]] = set()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_release_all)


def claim(
    path: str | os.PathLike[str], text: str | None = "", *, wait: float = 0.0, shared: bool = False
) -> Claim | None:
    """Take a lock file, or None while another process has it; ``text`` tells others who does (None: nobody is to see it).

    A ``shared`` one several processes may have together. The file stays when the lock is let go; only who has it alone may
    remove it.
    """
    try:
        until = time.monotonic() + wait
        while (handle := _open_locked(path, until, 0o644, shared=shared)) is not None and not _is_at(path, handle):
            os.close(handle)  # it was removed by the one who had it before
    except (OSError, ValueError) as error:
        raise _unwritable(path, error) from error
    if handle is None:
        return None
    held = Claim(handle)
    if text is not None:
        with contextlib.suppress(OSError):  # on a full disk too it is ours, only without a name
            os.ftruncate(handle, 0)
            os.write(handle, text.encode())
    _HELD.add(held)
    return held


def _lock(handle: int, until: float, *, shared: bool = False) -> bool:
    from fcntl import LOCK_EX, LOCK_NB, LOCK_SH, flock  # POSIX only

    while True:
        try:
            flock(handle, (LOCK_SH if shared else LOCK_EX) | LOCK_NB)
        except OSError as error:
            if error.errno not in {errno.EWOULDBLOCK, errno.EACCES}:
                raise
        else:
            return True
        if time.monotonic() >= until:
            return False
        time.sleep(0.01)


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


def add_line(path: str | os.PathLike[str], line: str, *, most_bytes: int, wait: float = 1.0) -> bool:
    """Add a line to a private file that several processes add to; False when it stayed locked for too long.

    No line is torn and none is lost. When the file has grown beyond ``most_bytes``, the older half of its lines goes.
    """
    until = time.monotonic() + wait
    try:
        while (handle := _open_locked(path, until)) is not None:
            try:
                if _is_at(path, handle):  # another process may have put a shorter file in its place meanwhile
                    _append(path, handle, line, most_bytes)
                    return True
            finally:
                os.close(handle)
    except (OSError, ValueError) as error:
        raise _unwritable(path, error) from error
    return False


def _open_locked(path: str | os.PathLike[str], until: float, mode: int = 0o600, *, shared: bool = False) -> int | None:
    handle = os.open(path, _LOCK_FILE | os.O_APPEND, mode)
    try:
        taken = _lock(handle, until, shared=shared)
    except BaseException:
        os.close(handle)
        raise
    if taken:
        return handle
    os.close(handle)
    return None


def _is_at(path: str | os.PathLike[str], handle: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(handle))
    except FileNotFoundError:
        return False


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


def make_folder(path: str | os.PathLike[str], *, durable: bool = False) -> None:
    """Make a folder and the folders above it; nothing happens when it is there.

    ``durable`` waits until those that were made are on disk.
    """
    try:
        missing = list(_missing(os.path.abspath(path))) if durable else []
        os.makedirs(path, exist_ok=True)
        for folder in missing:
            _sync(os.path.dirname(folder))
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


def make_new_folder(path: str | os.PathLike[str]) -> None:
    """Make a folder that must not be there yet."""
    try:
        os.mkdir(path)
    except (OSError, ValueError) as error:
        raise _unwritable(path, error) from error


def move_folder(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> None:
    """Give a folder another name below the same folder, in one step; it never takes the place of anything but nothing."""
    try:
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        os.rename(source, target)
    except (OSError, ValueError) as error:
        raise _unwritable(target, error) from error


def remove_tree(path: str | os.PathLike[str]) -> None:
    """Remove a folder with all that is in it, links themselves and not what they lead to; it may be gone already."""
    from shutil import rmtree

    try:
        rmtree(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise FileError(f"cannot remove {shown_path(path)}: {_reason(error)}") from error


def add_hard_link(existing: str | os.PathLike[str], path: str | os.PathLike[str]) -> None:
    """Give a file a second name; a symbolic link is copied as a link to the same file."""
    try:
        if os.path.islink(existing):
            os.symlink(os.path.realpath(existing), path)
        else:
            os.link(existing, path)
    except (OSError, ValueError) as error:
        raise _unwritable(path, error) from error


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
        raise _unwritable(path, error) from error


def force_to_disk(path: str | os.PathLike[str]) -> None:
    """Force a file's bytes to disk, or the names in a folder, so that what was made or renamed in it stays so."""
    try:
        _sync(os.fspath(path))
    except (OSError, ValueError) as error:
        raise _unwritable(path, error) from error


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


def _write_pieces(handle: int, pieces: list[memoryview]) -> None:
    rest = pieces
    while rest:
        written = os.writev(handle, rest)
        while rest and written >= len(rest[0]):
            written -= len(rest[0])
            rest = rest[1:]
        if written:
            rest = [rest[0][written:], *rest[1:]]


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


def _unwritable(path: str | os.PathLike[str], error: OSError | ValueError) -> FileError:
    number = error.errno if isinstance(error, OSError) else None
    hint = next((text for numbers, text in _HINTS if number in numbers), None)
    return FileError(f"cannot write {shown_path(path)}: {_reason(error)}", hint=hint)


def _reason(error: OSError | ValueError) -> str:
    """The operating system's own words, in one line and without the path, which the message already names."""
    return (isinstance(error, OSError) and error.strerror) or str(error)
