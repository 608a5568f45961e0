"""Where the socket of a run is, who may reach it, and who is at its other end."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import struct
import tempfile
import time
from typing import TYPE_CHECKING, Final

from forge.base.errors import FileError
from forge.base.files import make_private_folder, remove_file

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["listening_socket", "peer_user"]

_ADDRESS: Final = 104  # bytes that the path of a socket may have, with its end, on every system
_BACKLOG: Final = 64
_YOUNG: Final = 10.0  # seconds that another run may need from its socket's first moment until it listens
_CREDENTIALS: Final = struct.Struct("3i")


def listening_socket() -> tuple[str, socket.socket]:
    """A socket that listens in a folder which only this user can enter, and its path."""
    if not hasattr(socket, "SO_PEERCRED"):
        raise FileError("this system does not say who is at the other end of a socket")
    name = f"{os.getpid()}-{os.urandom(4).hex()}.sock"
    problem: Exception = FileError("there is no folder for a socket")
    for folder in _folders():
        path = os.path.join(folder, name)
        if len(os.fsencode(path)) >= _ADDRESS:
            continue
        try:
            make_private_folder(folder)
            _sweep(folder)
            return path, _bound(path)
        except (OSError, FileError) as error:
            problem = error
    raise problem if isinstance(problem, FileError) else FileError(f"no socket can be made: {problem}")


def _folders() -> Iterator[str]:
    """Where a socket may be: in the user's own folder for that, or in one below the temporary files."""
    own = os.environ.get("XDG_RUNTIME_DIR", "")
    if os.path.isabs(own) and os.path.isdir(own):
        yield os.path.join(own, "forge")
    for temporary in (tempfile.gettempdir(), os.path.join(os.sep, "tmp")):
        yield os.path.join(temporary, f"forge-{os.geteuid()}")


def _bound(path: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        os.fchmod(listener.fileno(), stat.S_IRUSR | stat.S_IWUSR)  # it has this mode from its first moment
        listener.bind(path)
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def _sweep(folder: str) -> None:
    """Remove the sockets of runs that were killed: nobody listens there."""
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        with contextlib.suppress(OSError, FileError):
            found = os.lstat(path)
            if stat.S_ISSOCK(found.st_mode) and time.time() > found.st_mtime + _YOUNG and not _is_heard(path):
                remove_file(path)


def _is_heard(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as end:
        end.setblocking(False)
        try:
            end.connect(path)
        except ConnectionRefusedError:
            return False
        except OSError:
            return True
    return True


def peer_user(end: socket.socket) -> int | None:
    """The user at the other end, as the system knows him; None where it does not say."""
    if not hasattr(socket, "SO_PEERCRED"):
        return None
    found = end.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, user, _ = _CREDENTIALS.unpack(found)
    return int(user)
