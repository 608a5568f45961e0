from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from forge.compose.heading import heading

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("# AdamW.\n_target_: x\n# not this\n", "AdamW."),
        ("# @package _global_\n# Two lines,\n#   of it.\n\n# not this\na: 1\n", "Two lines,\nof it."),
        ("\n\n# Later.\na: 1\n", "Later."),
        ("a: 1\n# below\n", ""),
        ("", ""),
        ("# only", "only"),
    ],
)
def test_it_is_the_comment_at_the_top(text: str, expected: str, tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(text)
    assert heading(str(file)) == expected


def test_a_file_that_cannot_be_read_says_nothing(tmp_path: Path) -> None:
    assert heading(str(tmp_path / "nosuch.yaml")) == ""
    (tmp_path / "bytes.yaml").write_bytes(b"# \xff\xfe\na: 1\n")
    assert heading(str(tmp_path / "bytes.yaml")) == "\ufffd\ufffd"
