"""JSON files that somebody else may have written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from forge.base.errors import ConfigLimitError, FileError
from forge.base.json_file import read_json, read_object

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "some.json"


def test_what_a_file_says(file: Path) -> None:
    file.write_text('{"a": [1, 2.5, null, "\u00e9"]}', encoding="utf-8")
    assert read_json(file, 100) == read_object(str(file), 100) == {"a": [1, 2.5, None, "\u00e9"]}
    file.write_text("[1]")
    assert read_json(file, 100) == [1]


@pytest.mark.parametrize(
    ("content", "what", "line"),
    [
        (b"", "Expecting value", 1),
        (b'{"a": 1,\n "b": }', "Expecting value", 2),
        (b'{"a": 1}\n{"b": 2}', "Extra data", 2),
        (b"\xff\xfe\xfa{}", "it is no text", 0),
        (b"[" * 100_000, "nested too deeply", 0),
    ],
    ids=["nothing", "broken", "two", "bytes", "deep"],
)
def test_a_file_that_is_no_json_is_named_with_its_line(file: Path, content: bytes, what: str, line: int) -> None:
    file.write_bytes(content)
    with pytest.raises(FileError, match=what) as caught:
        read_json(file, 1 << 20)
    assert caught.value.origin is not None
    assert (caught.value.origin.file, caught.value.origin.line) == (str(file), line)


def test_a_file_that_is_not_there_or_too_large(file: Path) -> None:
    with pytest.raises(FileError, match=r"cannot read .*some\.json"):
        read_json(file, 100)
    file.write_text(f'"{"x" * 100}"')
    with pytest.raises(ConfigLimitError, match="larger than 100 bytes"):
        read_json(file, 100)


@pytest.mark.parametrize(
    ("content", "kind"),
    [("[1]", "a list"), ('"x"', "a text"), ("true", "true or false"), ("null", "null"), ("2", "a number")],
)
def test_what_is_no_object_is_named(file: Path, content: str, kind: str) -> None:
    file.write_text(content)
    with pytest.raises(FileError, match=f"not a JSON object, but {kind}"):
        read_object(file, 100)
