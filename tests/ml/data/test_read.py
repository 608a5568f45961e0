"""Rows from files and from the Hub."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from forge.ml.data.read import hub_rows, hub_texts, jsonl_rows, text_files

if TYPE_CHECKING:
    from pathlib import Path


def test_files_are_documents_in_the_order_of_their_names(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("second", encoding="utf-8")
    (tmp_path / "a.txt").write_text("first", encoding="utf-8")
    assert text_files([str(tmp_path / "*.txt")]) == ("first", "second")


def test_a_pattern_without_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no file matches .*\.txt"):
        text_files([str(tmp_path / "*.txt")])


def test_one_path_in_place_of_a_list_is_refused() -> None:
    with pytest.raises(TypeError, match=r"write \[a.txt\]"):
        text_files("a.txt")


def test_json_lines_are_rows_and_empty_lines_are_not(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"a": 1}\n\n{"a": 2}\n', encoding="utf-8")
    assert jsonl_rows([str(tmp_path / "a.jsonl")]) == ({"a": 1}, {"a": 2})


@pytest.mark.parametrize(
    ("line", "message"), [("{", "a.jsonl:2: this line is not JSON"), ("[]", "a.jsonl:2: a row is")]
)
def test_a_line_that_is_no_row_is_named(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "a.jsonl").write_text(f'{{"a": 1}}\n{line}\n', encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        jsonl_rows([str(tmp_path / "a.jsonl")])


@pytest.mark.torch
def test_a_dataset_in_the_layout_of_the_hub_gives_rows_and_texts(tmp_path: Path, monkeypatch: Any) -> None:
    pytest.importorskip("datasets")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "train.jsonl").write_text('{"text": "a"}\n{"text": "b"}\n', encoding="utf-8")
    assert [row["text"] for row in hub_rows(str(folder), streaming=True)] == ["a", "b"]
    texts = hub_texts(str(folder), streaming=True)
    assert list(texts) == list(texts) == ["a", "b"]
