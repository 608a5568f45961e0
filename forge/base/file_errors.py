"""What the operating system says of a file, as an error of forge with what to do about it."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final

from forge.base.errors import FileError
from forge.base.origin import shown_path

if TYPE_CHECKING:
    import os

__all__ = ["reason_of", "unwritable"]

_AROUND: Final = 20
_HINTS: Final = (
    (
        {errno.ENOSPC, errno.EDQUOT},
        "the disk is full, or holds as many files as it may (df -i): free some space, or write to another place",
    ),
    (
        {errno.EFBIG},
        "this process, or that disk, is allowed no larger file: raise ulimit -f, or write to another place",
    ),
    (
        {errno.EACCES, errno.EPERM, errno.EROFS},
        "you may not write there: choose another place",
    ),
    ({errno.ENOENT}, "the folder is not there: create it first"),
    ({errno.ENOTDIR}, "a file is where a folder is needed: choose another place"),
    ({errno.ENAMETOOLONG}, "choose a shorter name"),
)


def unwritable(path: str | os.PathLike[str], error: OSError | ValueError) -> FileError:
    """The error for a file that cannot be written."""
    number = error.errno if isinstance(error, OSError) else None
    hint = next((text for numbers, text in _HINTS if number in numbers), None)
    return FileError(f"cannot write {shown_path(path)}: {reason_of(error)}", hint=hint)


def reason_of(error: OSError | ValueError) -> str:
    """The operating system's own words, in one line and without the path, which the message already names."""
    if isinstance(error, UnicodeEncodeError):
        part = error.object[max(0, error.start - _AROUND) : error.end + _AROUND]
        return f"it would hold {part!a}, which is not {error.encoding.upper()}"
    return (isinstance(error, OSError) and error.strerror) or str(error)
