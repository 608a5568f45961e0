"""Files that torch saved, and files that only look like it."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import Any


@dataclass
class Entry:
    """An entry of a zip; what is None is told as it is."""

    name: str
    data: bytes
    packed: bytes | None = None  # deflated content
    told_size: int | None = None
    told_header: int | None = None
    flags: int = 0


def zip_of(entries: list[Entry], comment: bytes = b"") -> bytes:
    """A zip written by hand, so that it can lie."""
    body, directory = bytearray(), bytearray()
    for entry in entries:
        content = entry.data if entry.packed is None else entry.packed
        method = 0 if entry.packed is None else 8
        size = len(entry.data) if entry.told_size is None else entry.told_size
        packed = size if entry.packed is None else len(content)
        name = entry.name.encode()
        header = len(body) if entry.told_header is None else entry.told_header
        facts = (zlib.crc32(entry.data) if len(entry.data) < 1 << 20 else 0, packed, size)
        body += struct.pack("<4s5H3L2H", b"PK\x03\x04", 20, entry.flags, method, 0, 0, *facts, len(name), 0) + name
        body += content
        directory += struct.pack(
            "<4s6H3L5H2L", b"PK\x01\x02", 20, 20, entry.flags, method, 0, 0, *facts, len(name), 0, 0, 0, 0, 0, header
        )
        directory += name
    count = len(entries)
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, count, count, len(directory), len(body), len(comment))
    return bytes(body + directory + end + comment)


def text(value: str) -> bytes:
    """A pickled text."""
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def number(value: int) -> bytes:
    """A pickled whole number of any size."""
    data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


def tuple_of(values: list[bytes]) -> bytes:
    """A pickled tuple."""
    return b"(" + b"".join(values) + b"t"


def tensor(
    key: str = "0",
    length: int = 4,
    offset: int = 0,
    shape: tuple[int, ...] = (4,),
    stride: tuple[int, ...] = (1,),
    kind: str = "FloatStorage",
) -> bytes:
    """A pickled tensor, as torch pickles it."""
    storage = tuple_of([text("storage"), f"ctorch\n{kind}\n".encode(), text(key), text("cpu"), number(length)]) + b"Q"
    numbers = [tuple_of([number(n) for n in numbers]) for numbers in (shape, stride)]
    hooks = b"ccollections\nOrderedDict\n)R"
    return b"ctorch._utils\n_rebuild_tensor_v2\n" + tuple_of([storage, number(offset), *numbers, b"\x89", hooks]) + b"R"


def state_dict(**tensors: bytes) -> bytes:
    """A pickled dict of tensors."""
    items = b"".join(text(name) + value for name, value in tensors.items())
    return b"\x80\x02}(" + items + b"u."


def torch_file(pickle: bytes, storages: dict[str, bytes] | None = None, **changes: Any) -> bytes:
    """A file as torch saves it, around a pickle; ``changes`` are made to the entry of the first storage."""
    found = {"0": bytes(16)} if storages is None else storages
    entries = [Entry("archive/data.pkl", pickle), Entry("archive/byteorder", b"little")]
    for number_, (key, data) in enumerate(found.items()):
        entries.append(Entry(f"archive/data/{key}", data, **(changes if number_ == 0 else {})))
    return zip_of(entries)
