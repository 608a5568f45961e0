from __future__ import annotations

import errno
import os

import pytest

from forge.base.file_errors import reason_of, unwritable


@pytest.mark.parametrize(
    ("number", "hint"),
    [
        (errno.ENOSPC, "df -i"),
        (errno.EFBIG, "ulimit -f"),
        (errno.EACCES, "you may not write there"),
        (errno.ENOENT, "create it first"),
        (errno.ENOTDIR, "a file is where a folder is needed"),
        (errno.ENAMETOOLONG, "a shorter name"),
        (errno.EIO, None),
    ],
)
def test_it_says_what_where_and_what_to_do(number: int, hint: str | None) -> None:
    error = unwritable("some/file", OSError(number, os.strerror(number), "some/file"))
    assert error.what == f"cannot write some/file: {os.strerror(number)}"
    assert (hint is None) is (error.hint is None)
    assert hint is None or hint in str(error.hint)


def test_a_reason_is_one_line_without_the_path() -> None:
    assert reason_of(OSError(errno.EIO, "Input/output error", "some/file")) == "Input/output error"
    assert reason_of(ValueError("embedded null byte")) == "embedded null byte"
