"""Large files, written in pieces and hashed on the way."""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING, Final, final

from forge.base.file_errors import unwritable

if TYPE_CHECKING:
    from queue import Queue
    from threading import Thread
    from types import TracebackType

__all__ = ["NewFile"]

_NEW_FILE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
# Handed to the system, and to the thread that hashes, at a time; the system takes at most 1024 pieces in one call.
_PORTION: Final = 8 << 20
_MOST_PIECES: Final = 512
# Handed to the system at a time where nothing is hashed: the memory of small pieces is taken again for the next ones.
_SMALL_PORTION: Final = 512 << 10
_AHEAD: Final = 32


@final
class NewFile:
    """A file that must not be there yet, written in pieces: its size and SHA-256 are known when it is closed.

    The bytes are on disk when the ``with`` block ends, or `finish` returns. A block that fails, or `give_up`, leaves no file
    behind. What is handed to `write` is read until then, partly by a second thread, and must not be changed. A file that is not
    ``hashed`` has no SHA-256, and what was handed over is let go sooner.
    """

    def __init__(self, path: str | os.PathLike[str], *, hashed: bool = True) -> None:
        self.path = os.fspath(path)
        self.size = 0
        self._digest = _Digest() if hashed else None
        self._portion = _PORTION if hashed else _SMALL_PORTION
        self._pieces: list[memoryview] = []
        self._waiting = 0
        try:
            self._handle = os.open(self.path, _NEW_FILE, 0o644)
        except (OSError, ValueError) as error:
            raise unwritable(path, error) from error

    @property
    def sha256(self) -> str:
        """The SHA-256 of all bytes, in hexadecimal; for a file that is closed. ValueError for one that is not hashed."""
        if self._digest is None:
            raise ValueError(f"{self.path} is written without a hash")
        return self._digest.value

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Add bytes at the end."""
        view = memoryview(data).cast("B")
        for start in range(0, len(view), _PORTION):
            piece = view[start : start + _PORTION]
            self._pieces.append(piece)
            self._waiting += len(piece)
            if self._waiting >= self._portion or len(self._pieces) >= _MOST_PIECES:
                self._hand_on()

    def copy(self, source: int, start: int, size: int) -> None:
        """Add bytes of another file, by its handle; for a file that is not hashed the system copies them by itself."""
        if self._digest is None and hasattr(os, "copy_file_range"):
            self._hand_on()
            done = _copied(source, self._handle, start, size)
            self.size += done
            start, size = start + done, size - done
        while size:
            data = os.pread(source, min(size, _PORTION), start)
            if not data:
                raise OSError(errno.EIO, "the file that is copied has become shorter")
            self.write(data)
            start, size = start + len(data), size - len(data)

    def __enter__(self) -> NewFile:
        """The file is open already."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Force the bytes to disk, or remove the file when something went wrong."""
        if error is None:
            self.finish()
        else:
            self.give_up()

    def finish(self) -> None:
        """Force the bytes to disk; what goes wrong with that leaves no file behind."""
        try:
            self._hand_on()
            self._force()
        except BaseException:
            self.give_up()
            raise

    def give_up(self) -> None:
        """Close the file and remove it."""
        self._end_digest()
        with contextlib.suppress(OSError):
            if self._handle >= 0:
                os.close(self._handle)
        with contextlib.suppress(OSError):
            os.unlink(self.path)

    def _hand_on(self) -> None:
        pieces, self._pieces, self._waiting = self._pieces, [], 0
        if self._digest is not None:
            self._digest.add(pieces)
        try:
            _write_pieces(self._handle, pieces)
        except OSError as error:
            raise unwritable(self.path, error) from error
        count = sum(map(len, pieces))
        if count >= _PORTION:
            _start_the_disk(self._handle, self.size, count)
        self.size += count

    def _force(self) -> None:
        # The rest is hashed while the disk takes what was written.
        try:
            os.fsync(self._handle)
            handle, self._handle = self._handle, -1
            os.close(handle)
        except OSError as error:
            raise unwritable(self.path, error) from error
        self._end_digest()

    def _end_digest(self) -> None:
        if self._digest is not None:
            self._digest.end()


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


def _copied(source: int, target: int, start: int, size: int) -> int:
    """How many bytes the system has copied; it does not do so between all kinds of disks."""
    done = 0
    with contextlib.suppress(OSError):
        while done < size and (count := os.copy_file_range(source, target, size - done, start + done)):
            done += count
    return done


def _start_the_disk(handle: int, start: int, size: int) -> None:
    """Let the disk begin with what was written while more comes: by itself the system keeps it until it is forced to disk."""
    if hasattr(os, "posix_fadvise"):
        with contextlib.suppress(OSError):
            os.posix_fadvise(handle, start, size, os.POSIX_FADV_DONTNEED)


def _write_pieces(handle: int, pieces: list[memoryview]) -> None:
    rest = pieces
    while rest:
        written = os.writev(handle, rest)
        while rest and written >= len(rest[0]):
            written -= len(rest[0])
            rest = rest[1:]
        if written:
            rest = [rest[0][written:], *rest[1:]]
