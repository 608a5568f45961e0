"""Rows from files and from the Hugging Face Hub.

Nothing is read before the rows are asked for; only that the files are there is seen at once. Files are read by what reads them
fastest, so that local data never waits for the import of `datasets`.
"""

from __future__ import annotations

import codecs
import csv
import glob
import gzip
import hashlib
import io
import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import IO, TYPE_CHECKING, Any, Final, Literal

from forge.base.errors import DataError
from forge.base.origin import Origin, shown_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["FileKind", "FileRows", "HubRows", "file_rows", "hub_rows", "text_files"]

FileKind = Literal["json", "jsonl", "csv", "parquet", "arrow", "text"]

_KINDS: Final[dict[str, FileKind]] = {
    "json": "json",
    "jsonl": "jsonl",
    "ndjson": "jsonl",
    "csv": "csv",
    "tsv": "csv",
    "parquet": "parquet",
    "arrow": "arrow",
    "feather": "arrow",
    "txt": "text",
    "md": "text",
}
_CHUNK: Final = 1 << 22
_ROWS_AT_ONCE: Final = 1024
_HASHED_AT_ONCE: Final = 8
# Characters. The limit of csv itself is less than a long document has; without any, a quote that nothing closes takes all memory.
_LONGEST_CELL: Final = 1 << 28


def text_files(paths: str | Sequence[str], *, encoding: str = "utf-8", streaming: bool = False) -> FileRows:
    """The content of each file as one document; a path may be a pattern such as ``corpus/**/*.txt``."""
    return FileRows(tuple((path, "text") for path in _matching(paths)), encoding, documents=True, streaming=streaming)


def file_rows(
    paths: str | Sequence[str], *, kind: FileKind | None = None, encoding: str = "utf-8", streaming: bool = False
) -> FileRows:
    """The rows of json, jsonl, csv, parquet, arrow and text files; a path may be a pattern such as ``~/data/*.jsonl``.

    The kind of a file is told by its name (``.jsonl.gz`` is read too) unless it is given. A json file is a list of objects or, as
    in jsonl, one object a line. Each line of a text file is a row with the column ``text``.
    """
    if kind is not None and kind not in _READERS:
        raise ValueError(f"kind is one of {', '.join(_READERS)}, not {kind!r}")
    files = tuple((path, kind or _kind_of(path)) for path in _matching(paths))
    return FileRows(files, encoding, streaming=streaming)


def hub_rows(
    name: str, *, split: str = "train", subset: str | None = None, revision: str | None = None, streaming: bool = False
) -> HubRows:
    """The rows of one split of a dataset on the Hugging Face Hub, or in a folder laid out like one."""
    return HubRows(name, split, subset, revision, streaming)


@dataclass(frozen=True)
class FileRows:
    """The rows of files, one file after another."""

    files: tuple[tuple[str, FileKind], ...]
    encoding: str = "utf-8"
    documents: bool = False  # each file is one row, and that row is its text
    streaming: bool = False

    def __post_init__(self) -> None:
        _check_encoding(self.encoding, self.files)

    def __iter__(self) -> Iterator[Any]:
        return self.rows_from(0)

    def rows_from(self, first: int) -> Iterator[Any]:
        """The rows from this number on."""
        return (row for _, row in islice(self._placed(), first, None))

    def fingerprint(self) -> str:
        """A hash of the bytes of all files and of how they are read."""
        hashes = _file_hashes([path for path, _ in self.files])
        kinds = [(kind, _separator(path) if kind == "csv" else "") for path, kind in self.files]
        described = json.dumps([hashes, kinds, self.encoding, self.documents])
        return hashlib.blake2b(described.encode(), digest_size=16).hexdigest()

    def place(self, row: int) -> str:
        """The file that a row stands in, and its line where it has one."""
        found = next(islice(self._placed(), row, None), None)
        return "" if found is None else str(found[0])

    @property
    def name(self) -> str:
        """The first of the files, and how many others there are."""
        others = f" and {len(self.files) - 1} more files" if len(self.files) > 1 else ""
        return f"{shown_path(self.files[0][0])}{others}"

    def _placed(self) -> Iterator[tuple[Origin, Any]]:
        for path, kind in self.files:
            if self.documents:
                yield Origin(os.path.abspath(path)), _text_of(path, self.encoding)
            else:
                yield from _placed_rows(path, kind, self.encoding)


@dataclass(frozen=True)
class HubRows:
    """The rows of a split of a dataset, loaded by `datasets` when they are first asked for."""

    name: str
    split: str = "train"
    subset: str | None = None
    revision: str | None = None
    streaming: bool = False

    def __iter__(self) -> Iterator[Any]:
        return self.rows_from(0)

    def __len__(self) -> int:
        return 0 if self.streaming else len(self._loaded)

    def __bool__(self) -> bool:
        return True

    def rows_from(self, first: int) -> Iterator[Any]:
        """The rows from this number on."""
        rows = self._loaded
        if self.streaming:
            return iter(rows.skip(first) if first else rows)
        return (row for row in (rows.select(range(first, len(rows))) if first else rows))

    def fingerprint(self) -> str:
        """A hash of the rows; of a stream, of which version of which data it is, for its rows are not there yet."""
        digest = hashlib.blake2b(json.dumps([self.name, self.subset, self.split]).encode(), digest_size=16)
        if self.streaming:
            digest.update(json.dumps(self._version()).encode())
        else:
            _hash_table(self._loaded, digest)
        return digest.hexdigest()

    def place(self, row: int) -> str:
        """The name of the dataset and the number of the row in it."""
        return f"{self.name}[{self.split}] row {row}"

    @cached_property
    def _loaded(self) -> Any:
        # `datasets` takes a second to import and is not needed for local files.
        from datasets import load_dataset

        try:
            return load_dataset(
                self.name, self.subset, split=self.split, revision=self.revision, streaming=self.streaming
            )
        except (OSError, ValueError, RuntimeError) as error:
            raise DataError(
                f"the dataset {self.name} cannot be loaded: {_first_line(error)}",
                hint="check its name, its subset and its split, and that the Hub can be reached; "
                "HF_HUB_OFFLINE=1 uses what has been loaded before",
            ) from error

    def _version(self) -> Any:
        if os.path.isdir(self.name):
            found = sorted(_all_files(self.name))
            names = [os.path.relpath(path, self.name) for path in found]
            return list(zip(names, _file_hashes(found), strict=True))
        from huggingface_hub import HfApi

        try:
            return HfApi().dataset_info(self.name, revision=self.revision).sha
        except (OSError, ValueError) as error:
            raise DataError(f"the version of the dataset {self.name} is not to be had: {_first_line(error)}") from error


def _kind_of(path: str) -> FileKind:
    name = path.removesuffix(".gz").lower()
    kind = _KINDS.get(name.rpartition(".")[2])
    if kind is None:
        raise ValueError(f"the name of {path} does not tell its kind: give kind, one of {', '.join(_READERS)}")
    return kind


def _matching(paths: str | Sequence[str]) -> list[str]:
    found: list[str] = []
    for written in [paths] if isinstance(paths, str) else paths:
        path = os.path.expanduser(written)
        matches = _files_of(path)
        if not matches:
            raise FileNotFoundError(f"no file matches {path}: {_why_none(path)}")
        found.extend(matches)
    if not found:
        raise ValueError("paths is empty: name at least one file")
    return found


def _files_of(path: str) -> list[str]:
    if os.path.isfile(path):  # whatever its name has in it that a pattern has too
        return [path]
    return [match for match in sorted(glob.glob(path, recursive=True)) if os.path.isfile(match)]


def _why_none(path: str) -> str:
    if os.path.isdir(path):
        return f"it is a folder; write {os.path.join(path, '*')} for the files in it"
    if os.path.isabs(path):
        folder = os.path.dirname(path)
        while glob.has_magic(folder):  # a folder that is itself a pattern tells nothing
            folder = os.path.dirname(folder)
        return "there is none of that name" if os.path.isdir(folder) else f"there is no folder {folder}"
    return f"it is looked for in {os.getcwd()}"


def _check_encoding(encoding: str, files: Sequence[tuple[str, FileKind]]) -> None:
    """ValueError where the files cannot be read in this encoding, whatever is in them."""
    try:
        newline = b"\n".decode(encoding, "replace")
    except LookupError:
        raise ValueError(
            f"there is no encoding {encoding!r} of texts: write utf-8, latin-1, cp1252 or the like"
        ) from None
    by_lines = [path for path, kind in files if kind in ("json", "jsonl")]
    if by_lines and newline != "\n":
        raise ValueError(
            f"{shown_path(by_lines[0])} is read line by line, and the end of a line of {encoding} "
            "is not the one byte that is looked for: convert it to utf-8"
        )


def _placed_rows(path: str, kind: FileKind, encoding: str) -> Iterator[tuple[Origin, Any]]:
    """The rows of one file with the line of each; a row that is no mapping is an error."""
    file = os.path.abspath(path)
    try:
        for line, row in _READERS[kind](path, encoding):
            if not isinstance(row, dict):
                raise DataError(f"a row is a JSON object, not {type(row).__name__}", origin=Origin(file, line))
            yield Origin(file, line), row
    except (OSError, EOFError, ValueError, csv.Error) as error:
        if isinstance(error, _LineError):
            hint = "mend this line or take it out; nothing of the file is used until all of it can be read"
            raise DataError(error.problem, hint=hint, origin=Origin(file, error.line)) from error
        raise DataError(f"this {kind} file cannot be read: {_first_line(error)}", origin=Origin(file)) from error


class _LineError(ValueError):
    def __init__(self, line: int, problem: str) -> None:
        super().__init__(problem)
        self.line = line
        self.problem = problem


def _json_lines(path: str, encoding: str) -> Iterator[tuple[int, Any]]:
    with _opened(path) as file:
        for line, content in enumerate(file, start=1):
            if content.isspace():
                continue
            try:
                yield line, json.loads(content.decode(_codec(encoding)))
            except UnicodeDecodeError as error:
                raise _LineError(line, f"this line is not {encoding}: {error.reason}") from error
            except RecursionError as error:
                raise _LineError(line, "this line is nested too deep") from error
            except json.JSONDecodeError as error:
                raise _LineError(line, f"this line is not JSON: {error.msg}") from error


def _json_document(path: str, encoding: str) -> Iterator[tuple[int, Any]]:
    with _opened(path) as file:
        beginning = file.read(_CHUNK).removeprefix(codecs.BOM_UTF8).lstrip()
    if not beginning.startswith(b"["):
        # Many files named .json hold one object a line; a single object over several lines is no list of rows.
        yield from _json_lines(path, encoding)
        return
    try:
        rows = json.loads(_text_of(path, encoding))
    except json.JSONDecodeError as error:
        raise _LineError(error.lineno, f"this file is not JSON: {error.msg}") from error
    yield from ((0, row) for row in rows)


def _csv(path: str, encoding: str) -> Iterator[tuple[int, Any]]:
    with _opened(path) as binary, io.TextIOWrapper(binary, encoding=_codec(encoding), newline="") as file:
        csv.field_size_limit(max(csv.field_size_limit(), _LONGEST_CELL))  # one for the process: it is only ever raised
        rows = csv.reader(file, delimiter=_separator(path), strict=True)
        header = next(rows, None)
        if header is None:
            return
        _check_header(path, header)
        line = rows.line_num + 1  # where the next row begins; one with line breaks in it takes several
        for row in rows:
            if row and len(row) != len(header):
                raise _LineError(line, f"this row has {len(row)} fields, and the header {len(header)}")
            if row:
                yield line, dict(zip(header, row, strict=True))
            line = rows.line_num + 1


def _check_header(path: str, header: list[str]) -> None:
    """A column without a name may come again, as spreadsheets write it: nobody can ask for it."""
    for name in filter(None, header):
        if header.count(name) > 1:
            raise DataError(
                f"the header names two columns {name!r}",
                hint="give each column its own name, or take one of them out",
                origin=Origin(os.path.abspath(path), 1),
            )


def _separator(path: str) -> str:
    return "\t" if path.removesuffix(".gz").lower().endswith(".tsv") else ","


def _codec(encoding: str) -> str:
    """Files from other systems may begin with a mark that is no part of their text."""
    return "utf-8-sig" if encoding.lower() in ("utf-8", "utf8") else encoding


def _parquet(path: str, _encoding: str) -> Iterator[tuple[int, Any]]:
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(_ROWS_AT_ONCE):
            yield from ((0, row) for row in batch.to_pylist())


def _arrow(path: str, _encoding: str) -> Iterator[tuple[int, Any]]:
    """An Arrow file, which has an index at its end, or a stream, which `datasets` writes."""
    import pyarrow as pa

    with pa.memory_map(path) as memory:
        is_file = memory.read(6) == b"ARROW1"
        memory.seek(0)
        if is_file:
            with pa.ipc.open_file(memory) as reader:
                for number in range(reader.num_record_batches):
                    yield from ((0, row) for row in reader.get_batch(number).to_pylist())
        else:
            with pa.ipc.open_stream(memory) as reader:
                for batch in reader:
                    yield from ((0, row) for row in batch.to_pylist())


def _text_lines(path: str, encoding: str) -> Iterator[tuple[int, Any]]:
    with _opened(path) as binary, io.TextIOWrapper(binary, encoding=_codec(encoding)) as file:
        for line, content in enumerate(file, start=1):
            if content.strip():
                yield line, {"text": content.rstrip("\n")}


_READERS: Final[dict[FileKind, Callable[[str, str], Iterator[tuple[int, Any]]]]] = {
    "json": _json_document,
    "jsonl": _json_lines,
    "csv": _csv,
    "parquet": _parquet,
    "arrow": _arrow,
    "text": _text_lines,
}


def _opened(path: str) -> IO[bytes]:
    return gzip.open(path) if path.endswith(".gz") else open(path, "rb")


def _text_of(path: str, encoding: str) -> str:
    try:
        with _opened(path) as file:
            return file.read().decode(_codec(encoding))
    except UnicodeDecodeError as error:
        raise DataError(f"this file is not {encoding}: {error.reason}", origin=Origin(os.path.abspath(path))) from error
    except OSError as error:
        raise DataError(f"cannot read {shown_path(path)}: {_first_line(error)}") from error


def _file_hashes(paths: Sequence[str]) -> list[str]:
    with ThreadPoolExecutor(_HASHED_AT_ONCE) as threads:
        return list(threads.map(_file_hash, paths))


def _file_hash(path: str) -> str:
    digest = hashlib.blake2b(digest_size=16)
    try:
        with open(path, "rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    except OSError as error:
        raise DataError(f"cannot read {shown_path(path)}: {_first_line(error)}") from error
    return digest.hexdigest()


def _hash_table(dataset: Any, digest: Any) -> None:
    """Hash the columns of a dataset as Arrow lays them out: their names and types, and every value."""
    import pyarrow as pa

    class Sink(io.RawIOBase):
        def writable(self) -> bool:
            return True

        def write(self, data: Any) -> int:
            digest.update(data)
            return len(data)

    columns = dataset.with_format("arrow")
    with pa.PythonFile(Sink(), mode="w") as sink:
        for table in columns.iter(_ROWS_AT_ONCE):
            # Without its metadata, where `datasets` keeps what is not content.
            plain = table.combine_chunks().replace_schema_metadata(None)
            with pa.ipc.new_stream(sink, plain.schema) as writer:
                writer.write_table(plain)


def _all_files(folder: str) -> Iterator[str]:
    for where, _, names in os.walk(folder):
        yield from (os.path.join(where, name) for name in names)


def _first_line(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return (str(error).splitlines() or [type(error).__name__])[0]
