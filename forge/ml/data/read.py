"""Rows from files and from the Hugging Face Hub."""

from __future__ import annotations

import glob
import json
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = ["hub_rows", "hub_texts", "jsonl_rows", "text_files"]


def text_files(paths: Sequence[str], *, encoding: str = "utf-8") -> tuple[str, ...]:
    """The content of each file as one document; a path may be a pattern such as ``corpus/**/*.txt``."""
    return tuple(_content(path, encoding) for path in _matching(paths))


def jsonl_rows(paths: Sequence[str]) -> tuple[dict[str, Any], ...]:
    """The objects of JSON-lines files, one object a line; a path may be a pattern such as ``data/*.jsonl``."""
    return tuple(row for path in _matching(paths) for row in _rows_of(path))


def hub_rows(name: str, *, split: str = "train", subset: str | None = None, streaming: bool = False) -> Iterable[Any]:
    """The rows of one split of a dataset on the Hugging Face Hub."""
    # `datasets` takes a second to import and is not needed for local files.
    from datasets import load_dataset

    return load_dataset(name, subset, split=split, streaming=streaming)


def hub_texts(
    name: str, *, column: str = "text", split: str = "train", subset: str | None = None, streaming: bool = False
) -> Iterable[str]:
    """One column of a dataset on the Hugging Face Hub, as documents."""
    return _Column(hub_rows(name, split=split, subset=subset, streaming=streaming), column)


class _Column:
    """One column of rows that can be read again and again."""

    def __init__(self, rows: Iterable[Any], column: str) -> None:
        self.rows = rows
        self.column = column

    def __iter__(self) -> Iterator[str]:
        return (row[self.column] for row in self.rows)


def _matching(paths: Sequence[str]) -> list[str]:
    if isinstance(paths, str):
        raise TypeError(f"paths is a list of paths; write [{paths}]")
    found: list[str] = []
    for path in paths:
        matches = [match for match in sorted(glob.glob(path, recursive=True)) if os.path.isfile(match)]
        if not matches:
            raise FileNotFoundError(f"no file matches {path}")
        found.extend(matches)
    return found


def _content(path: str, encoding: str) -> str:
    with open(path, encoding=encoding) as file:
        return file.read()


def _rows_of(path: str) -> list[dict[str, Any]]:
    rows = []
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise ValueError(f"{path}:{number}: this line is not JSON: {error.msg}") from error
            if not isinstance(row, dict):
                raise ValueError(  # noqa: TRY004 - the content of a file is wrong, not the type of an argument
                    f"{path}:{number}: a row is a JSON object, not {type(row).__name__}"
                )
            rows.append(row)
    return rows
