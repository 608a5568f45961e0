"""Rows from files and from the Hub."""

from __future__ import annotations

import gzip
import http.server
import json
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from forge.base.errors import DataError
from forge.ml.data.read import file_rows, hub_rows, text_files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ROWS = [{"a": 1, "b": "x"}, {"a": 2, "b": "y\nz"}]


def _jsonl(path: Path, rows: list[Any] = ROWS) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def test_files_are_documents_in_the_order_of_their_names(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("second", encoding="utf-8")
    (tmp_path / "a.txt").write_text("first", encoding="utf-8")
    documents = text_files([str(tmp_path / "*.txt")])
    assert list(documents) == list(documents) == ["first", "second"]
    assert documents.place(1) == str(tmp_path / "b.txt")
    assert documents.name == f"{tmp_path / 'a.txt'} and 1 more files"


def test_a_pattern_without_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no file matches .*\.txt"):
        text_files([str(tmp_path / "*.txt")])
    with pytest.raises(FileNotFoundError, match=r"it is a folder; write .*/\* for the files in it"):
        text_files([str(tmp_path)])
    with pytest.raises(FileNotFoundError, match=r"absent\.txt: there is none of that name"):
        text_files([str(tmp_path / "absent.txt")])
    with pytest.raises(FileNotFoundError, match=r"a\*\.txt: there is no folder /.*/absent$"):
        text_files([str(tmp_path / "absent" / "a*.txt")])
    with pytest.raises(FileNotFoundError, match=r"a\.txt: there is none of that name"):
        text_files([str(tmp_path / "**" / "a.txt")])
    with pytest.raises(FileNotFoundError, match=r"a\.txt: there is no folder /.*/absent$"):
        text_files([str(tmp_path / "absent" / "**" / "a.txt")])
    with pytest.raises(FileNotFoundError, match=r"no file matches a\.txt: it is looked for in /"):
        text_files(["a.txt"])


def test_one_path_may_stand_for_a_list_of_one(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "one"}\n')
    path = str(tmp_path / "a.jsonl")
    assert file_rows(path) == file_rows([path])
    assert text_files(path) == text_files([path])


def test_a_path_that_is_there_is_that_file_whatever_signs_of_a_pattern_it_has(tmp_path: Path) -> None:
    _jsonl(tmp_path / "a[1].jsonl", ROWS[:1])
    _jsonl(tmp_path / "a1.jsonl", ROWS[1:])
    assert list(file_rows(str(tmp_path / "a[1].jsonl"))) == ROWS[:1]
    assert list(file_rows(str(tmp_path / "a[1-3].jsonl"))) == ROWS[1:]
    assert list(file_rows(str(tmp_path / "a*.jsonl"))) == [ROWS[1], ROWS[0]]


def test_the_home_folder_may_be_written_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    _jsonl(tmp_path / "a.jsonl")
    for path in ("~/a.jsonl", "~/*.jsonl"):
        assert list(file_rows(path)) == ROWS
    with pytest.raises(FileNotFoundError, match=r"b\.jsonl: there is none of that name"):
        file_rows("~/b.jsonl")


def test_no_path_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="paths is empty"):
        file_rows([])


def test_a_name_that_does_not_tell_the_kind_needs_one(tmp_path: Path) -> None:
    path = _jsonl(tmp_path / "rows.data")
    with pytest.raises(ValueError, match="does not tell its kind"):
        file_rows([path])
    with pytest.raises(ValueError, match="kind is one of json, jsonl"):
        file_rows([path], kind="xml")
    assert list(file_rows([path], kind="jsonl")) == ROWS


def test_json_lines_are_rows_and_empty_lines_are_not(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": 1}\n\n{"a": 2}', encoding="utf-8")
    rows = file_rows([str(path)])
    assert list(rows) == [{"a": 1}, {"a": 2}]
    assert list(rows.rows_from(1)) == [{"a": 2}]
    assert rows.place(1) == f"{path}:3"
    assert rows.place(9) == ""


def test_a_json_file_is_a_list_or_lines(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(ROWS, indent=1))
    _jsonl(tmp_path / "b.json")
    assert list(file_rows([str(tmp_path / "*.json")])) == ROWS * 2


def test_csv_and_tsv_have_a_header(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('\ufeffa,b\n1,"x, ""y"""\n\n2,"two\nlines"\n', encoding="utf-8")
    (tmp_path / "b.tsv").write_text("a\tb\n3\tz,z\n")
    found = list(file_rows([str(tmp_path / "a.csv"), str(tmp_path / "b.tsv")]))
    assert found == [{"a": "1", "b": 'x, "y"'}, {"a": "2", "b": "two\nlines"}, {"a": "3", "b": "z,z"}]


def test_a_csv_cell_may_be_as_long_as_a_text_is(tmp_path: Path) -> None:
    text = "a, b\n" * 200_000
    (tmp_path / "a.csv").write_text(f'text,n\n"{text}",1\n')
    assert list(file_rows([str(tmp_path / "a.csv")])) == [{"text": text, "n": "1"}]


def test_columns_without_a_name_may_be_several(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,,\n1,2,3\n")
    assert [row["a"] for row in file_rows([str(tmp_path / "a.csv")])] == ["1"]


def test_an_encoding_is_one_that_the_files_can_be_read_in(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    for encoding in ("utf-16", "utf-16-le", "utf-32", "cp037"):
        path.write_text(json.dumps({"text": "ä"}) + "\n", encoding=encoding)
        with pytest.raises(
            ValueError, match=rf"a\.jsonl is read line by line, .* of {encoding} .* convert it to utf-8"
        ):
            file_rows(str(path), encoding=encoding)
    for encoding in ("utf-8-sig", "latin-1", "cp1252", "shift_jis"):
        path.write_text(json.dumps({"text": "a"}) + "\n", encoding=encoding)
        assert list(file_rows(str(path), encoding=encoding)) == [{"text": "a"}]
    with pytest.raises(ValueError, match="there is no encoding 'utf-9' of texts"):
        file_rows(str(path), encoding="utf-9")
    for name, rows in (("a.csv", [{"text": "ä"}]), ("a.txt", [{"text": "text"}, {"text": "ä"}])):
        (tmp_path / name).write_text("text\nä\n", encoding="utf-16")
        assert list(file_rows(str(tmp_path / name), encoding="utf-16")) == rows
    assert list(text_files(str(tmp_path / "a.txt"), encoding="utf-16")) == ["text\nä\n"]


def test_a_mark_at_the_beginning_of_a_file_is_no_part_of_it(tmp_path: Path) -> None:
    for name, content in (("a.jsonl", '{"a": "1"}'), ("a.json", '[{"a": "1"}]'), ("a.csv", "a\n1"), ("a.txt", "1")):
        (tmp_path / name).write_text(content, encoding="utf-8-sig")
        found = list(file_rows([str(tmp_path / name)]))
        assert found == [{"text": "1"} if name == "a.txt" else {"a": "1"}]
    assert list(text_files([str(tmp_path / "a.txt")])) == ["1"]


def test_the_same_bytes_read_with_another_separator_are_other_rows(tmp_path: Path) -> None:
    for name in ("a.csv", "a.tsv"):
        (tmp_path / name).write_text("a,b\tc\n1,2\t3\n")
    one, other = (file_rows([str(tmp_path / name)]) for name in ("a.csv", "a.tsv"))
    assert list(one) != list(other)
    assert one.fingerprint() != other.fingerprint()


def test_parquet_and_both_forms_of_arrow_are_read(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet

    table = arrow.Table.from_pylist(ROWS)
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    with arrow.OSFile(str(tmp_path / "b.arrow"), "wb") as file, arrow.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    with arrow.OSFile(str(tmp_path / "c.arrow"), "wb") as file, arrow.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)
    for name in ("a.parquet", "b.arrow", "c.arrow"):
        rows = file_rows([str(tmp_path / name)])
        assert list(rows) == ROWS
        assert list(rows.rows_from(1)) == ROWS[1:]


def test_lines_of_text_are_rows(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\n\n  two\n", encoding="utf-8")
    assert list(file_rows([str(tmp_path / "a.txt")])) == [{"text": "one"}, {"text": "  two"}]


def test_compressed_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(b'{"a": 1}\n'))
    assert list(file_rows([str(tmp_path / "a.jsonl.gz")])) == [{"a": 1}]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b'{"a": 1}\n{', "a.jsonl:2: this line is not JSON: "),
        ("a.jsonl", b'{"a": 1}\n[]\n', "a.jsonl:2: a row is a JSON object, not list"),
        ("a.jsonl", b'{"a": "\xff"}\n', "a.jsonl:1: this line is not utf-8"),
        ("a.jsonl", b"[" * 100_000 + b"\n", "a.jsonl:1: this line is"),
        ("a.json", b'[{"a": 1},\n {]', "a.json:2: this file is not JSON"),
        ("a.json", b"[1]", "a.json: a row is a JSON object, not int"),
        ("a.json", b'{"a": 1,\n "b": 2}', "a.json:1: this line is not JSON"),
        ("a.csv", b"a,b\n1,2\n3\n", "a.csv:3: this row has 1 fields, and the header 2"),
        ("a.csv", b'a,b\n1,2\n"x\ny",2,3\n', "a.csv:3: this row has 3 fields, and the header 2"),
        ("a.csv", b"a,b,a\n1,2,3\n", "a.csv:1: the header names two columns 'a'"),
        ("a.csv", b'a,b\n1,"2\n', "a.csv: this csv file cannot be read"),
        ("a.csv", b"a\n\xff\n", "a.csv: this csv file cannot be read"),
        ("a.parquet", b"PAR1", "a.parquet: this parquet file cannot be read"),
        ("a.arrow", b"ARROW1", "a.arrow: this arrow file cannot be read"),
        ("a.jsonl.gz", b"no gzip", "a.jsonl.gz: this jsonl file cannot be read"),
        ("a.jsonl.gz", gzip.compress(b'{"a": 1}\n' * 9999)[:-9], "a.jsonl.gz: this jsonl file cannot be read"),
    ],
)
def test_what_is_no_row_is_named_with_its_file_and_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: bytes, message: str
) -> None:
    if name.endswith((".parquet", ".arrow")):
        pytest.importorskip("pyarrow")
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as error:
        list(file_rows([name]))
    assert str(error.value).startswith(message)
    assert "mend this line" in str(error.value) or "this line" not in message


def test_a_text_that_is_not_in_the_encoding_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xe4")
    with pytest.raises(DataError, match=r"a\.txt: this file is not utf-8"):
        list(text_files([str(tmp_path / "a.txt")]))
    assert list(text_files([str(tmp_path / "a.txt")], encoding="latin-1")) == ["ä"]


def test_the_fingerprint_is_that_of_the_content(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    _jsonl(path)
    first = file_rows([str(path)]).fingerprint()
    status = path.stat()
    path.write_bytes(path.read_bytes().replace(b"1", b"3"))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    changed = file_rows([str(path)]).fingerprint()
    _jsonl(path)
    (tmp_path / "other.jsonl").write_bytes(path.read_bytes())
    assert first != changed
    assert first == file_rows([str(path)]).fingerprint() == file_rows([str(tmp_path / "other.jsonl")]).fingerprint()
    assert first != file_rows([str(path)], kind="text").fingerprint()
    path.unlink()
    with pytest.raises(DataError, match="cannot read"):
        file_rows([str(tmp_path / "other.jsonl")]).__class__(((str(path), "jsonl"),)).fingerprint()


@pytest.mark.torch
def test_a_folder_in_the_layout_of_the_hub_gives_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("datasets")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "data"
    folder.mkdir()
    _jsonl(folder / "train.jsonl", [{"text": "a"}, {"text": "b"}])
    rows = hub_rows(str(folder), streaming=True)
    assert list(rows) == list(rows) == [{"text": "a"}, {"text": "b"}]
    assert list(rows.rows_from(1)) == [{"text": "b"}]
    before = rows.fingerprint()
    _jsonl(folder / "train.jsonl", [{"text": "c"}, {"text": "b"}])
    assert hub_rows(str(folder), streaming=True).fingerprint() != before


def test_a_streamed_folder_is_known_by_the_content_of_its_files(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    prints = []
    for text in ("a", "b", "a"):
        _jsonl(tmp_path / "deep" / "train.jsonl", [{"text": text}])
        prints.append(hub_rows(str(tmp_path), streaming=True).fingerprint())
    assert prints[0] == prints[2] != prints[1]


SHA = "0123456789abcdef0123456789abcdef01234567"
ASKED_OF_THE_HUB = """
import json, sys
from forge.base.errors import DataError
from forge.ml.data.read import hub_rows
found = {}
for streaming in (False, True):
    rows = hub_rows("me/small", streaming=streaming)
    found[f"streaming {streaming}"] = [list(rows), list(rows.rows_from(1)), rows.fingerprint(), rows.place(1)]
found["length"] = len(hub_rows("me/small"))
for wrong in ({"name": "me/none"}, {"name": "me/small", "split": "test"}, {"name": "me/small", "subset": "x"}):
    try:
        list(hub_rows(**wrong))
    except DataError as error:
        found[json.dumps(wrong)] = str(error)
print(json.dumps(found))
"""


class _Hub(http.server.BaseHTTPRequestHandler):
    """As much of the Hub as one dataset of one file needs."""

    content = b'{"text": "a"}\n{"text": "b"}\n'

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path.startswith("/api/datasets/me/small/tree/") and path.endswith(SHA):
            self._answer([{"type": "file", "oid": "a" * 40, "size": len(self.content), "path": "train.jsonl"}])
        elif path == "/api/datasets/me/small" or path.startswith("/api/datasets/me/small/revision/"):
            files = [{"rfilename": "train.jsonl"}]
            self._answer({"id": "me/small", "sha": SHA, "siblings": files, "tags": [], "downloads": 0, "likes": 0})
        elif path == f"/datasets/me/small/resolve/{SHA}/train.jsonl":
            self._answer(self.content, {"etag": f'"{"b" * 40}"', "x-repo-commit": SHA})
        else:
            missing = "EntryNotFound" if "/me/small" in path else "RepoNotFound"
            self._answer({}, {"x-error-code": missing}, code=404)

    do_HEAD = do_GET  # noqa: N815 - the name that the server looks for

    def _answer(self, found: Any, headers: dict[str, str] | None = None, code: int = 200) -> None:
        content = found if isinstance(found, bytes) else json.dumps(found).encode()
        self.send_response(code)
        for name, value in {"content-length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Nothing is printed."""


@pytest.fixture
def hub() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.torch
@pytest.mark.slow
def test_a_dataset_of_the_hub_gives_rows(tmp_path: Path, hub: str) -> None:
    pytest.importorskip("datasets")
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    environment |= {"HF_ENDPOINT": hub, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "0"}
    done = subprocess.run(
        [sys.executable, "-c", ASKED_OF_THE_HUB], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    for streaming in (False, True):
        rows, rest, fingerprint, place = found[f"streaming {streaming}"]
        assert rows == [{"text": "a"}, {"text": "b"}]
        assert rest == rows[1:]
        assert len(fingerprint) == 32
        assert place == "me/small[train] row 1"
    assert found["length"] == 2
    assert "me/none cannot be loaded" in found['{"name": "me/none"}']
    assert 'Unknown split "test"' in found['{"name": "me/small", "split": "test"}']
    assert "BuilderConfig 'x' not found" in found['{"name": "me/small", "subset": "x"}']
