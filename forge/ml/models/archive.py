"""The zip files that torch saves: where the bytes of each tensor are, checked before any of them is read.

Torch stores its tensors uncompressed, so that each is a plain stretch of the file. Whatever else a zip can be (compressed,
encrypted, with entries that overlap or lie about their size) is refused.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from forge.base.errors import ModelError
from forge.ml.models.pickled import MAX_PICKLE, TensorRecord, read_records

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["TensorPlace", "tensor_places"]

_MAX_ENTRIES: Final = 20_000
_MAX_DIRECTORY: Final = 8 << 20
_END: Final = struct.Struct("<4s4H2LH")
_END64_LOCATOR: Final = struct.Struct("<4sLQL")
_END64: Final = struct.Struct("<4sQ2H2L4Q")
_ENTRY: Final = struct.Struct("<4s6H3L5H2L")
_LOCAL: Final = struct.Struct("<4s5H3L2H")
_LONGEST_COMMENT: Final = 1 << 16
_IN_THE_EXTRA_FIELD: Final = 0xFFFFFFFF
_ENCRYPTED: Final = 1
# The first bytes of what torch saved before version 1.6: a pickled number that only that format begins with.
_LEGACY: Final = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19"
_ITEM_SIZES: Final = {"float64": 8, "int64": 8, "float32": 4, "int32": 4, "float16": 2, "bfloat16": 2, "int16": 2}


@dataclass(frozen=True, slots=True)
class TensorPlace:
    """Where a tensor is in its file: ``length`` elements from byte ``start``, seen through shape and strides."""

    start: int
    length: int
    dtype: str
    shape: tuple[int, ...]
    stride: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Entry:
    name: str
    start: int
    size: int


def tensor_places(handle: int, path: str) -> dict[str, TensorPlace]:
    """The place of each tensor in a file saved by torch, given open for reading."""
    try:
        entries = {entry.name: entry for entry in _entries(handle)}
        root, pickle = _description(handle, entries)
        records = read_records(_content(handle, pickle))
        return {name: _place(name, record, entries, root) for name, record in records.items()}
    except ModelError as error:
        raise ModelError(f"{path}: {error.what}", hint=error.hint or "get the model as safetensors") from error
    except (struct.error, UnicodeDecodeError, OverflowError, OSError) as error:
        raise ModelError(f"{path}: it is damaged ({error})") from error


def _description(handle: int, entries: dict[str, _Entry]) -> tuple[str, _Entry]:
    """The folder inside the archive, and the entry that describes its tensors."""
    found = [name for name in entries if name == "data.pkl" or name.endswith("/data.pkl")]
    if len(found) != 1:
        raise ModelError("it is a zip, but not one that torch saved")
    root = found[0].removesuffix("data.pkl")
    order = entries.get(f"{root}byteorder")
    if order is not None and _content(handle, order) != b"little":
        raise ModelError("its numbers are stored big end first")
    return root, entries[found[0]]


def _place(name: str, record: TensorRecord, entries: dict[str, _Entry], root: str) -> TensorPlace:
    entry = entries.get(f"{root}data/{record.storage}")
    size = _ITEM_SIZES.get(record.dtype, 1)
    if entry is None or entry.size != record.storage_length * size:
        raise ModelError(f"the tensor {name!r:.100} has no storage of the size that it says")
    elements = 1
    for length in record.shape:
        elements *= length
    reach = sum((length - 1) * step for length, step in zip(record.shape, record.stride, strict=True)) + 1
    last = record.offset + (reach if elements else 0)
    # More elements than bytes: one number that pretends to be a matrix would fill the memory.
    if last > record.storage_length or elements > record.storage_length:
        raise ModelError(f"the tensor {name!r:.100} reaches beyond its storage")
    return TensorPlace(
        entry.start + record.offset * size, reach if elements else 0, record.dtype, record.shape, record.stride
    )


def _entries(handle: int) -> Iterator[_Entry]:
    """The entries in the order of their places; none overlaps another or the directory."""
    total = os.fstat(handle).st_size
    begin, size, count = _directory(handle, total)
    if count > _MAX_ENTRIES or size > _MAX_DIRECTORY or begin + size > total:
        raise ModelError(f"its table of contents is damaged, or has more than {_MAX_ENTRIES:,} entries")
    previous, names = 0, set()
    for name, header, length in sorted(_listed(os.pread(handle, size, begin), count), key=lambda entry: entry[1]):
        start = _data_start(handle, header, name)
        if name in names or header < previous or start + length > begin:
            raise ModelError(f"its entry {name!r:.100} lies over another one")
        names.add(name)
        previous = start + length
        yield _Entry(name, start, length)


def _directory(handle: int, total: int) -> tuple[int, int, int]:
    """Where the table of contents begins, its size, and the number of entries."""
    head = os.pread(handle, 64, 0)
    if _LEGACY in head and not head.startswith(b"PK"):
        raise ModelError(
            "it was saved by torch before version 1.6, in a format that cannot be read without running its code",
            hint="where you trust it: torch.save(torch.load(FILE, weights_only=True), FILE), or get the safetensors",
        )
    tail_start = max(0, total - _LONGEST_COMMENT - _END.size)
    tail = os.pread(handle, total - tail_start, tail_start)
    place = tail.rfind(b"PK\x05\x06")
    if head[:4] != b"PK\x03\x04" or place < 0:
        raise ModelError("it is not a file that torch saved")
    *_, count, size, begin, _comment = _END.unpack_from(tail, place)
    locator = tail_start + place - _END64_LOCATOR.size
    if locator >= 0 and (found := os.pread(handle, _END64_LOCATOR.size, locator)).startswith(b"PK\x06\x07"):
        wide = os.pread(handle, _END64.size, _END64_LOCATOR.unpack(found)[2])
        signature, *_, count, size, begin = _END64.unpack(wide)
        if signature != b"PK\x06\x06":
            raise ModelError("its table of contents is damaged")
    return begin, size, count


def _listed(directory: bytes, count: int) -> Iterator[tuple[str, int, int]]:
    """Name, place of the header and size of each entry."""
    at = 0
    for _ in range(count):
        values = _ENTRY.unpack_from(directory, at)
        signature, flags, method = values[0], values[3], values[4]
        packed, size, name_length, extra_length, comment_length, header = *values[8:13], values[16]
        at += _ENTRY.size
        name = directory[at : at + name_length].decode()
        extra = directory[at + name_length : at + name_length + extra_length]
        at += name_length + extra_length + comment_length
        if signature != b"PK\x01\x02":
            raise ModelError("its table of contents is damaged")
        size, packed, header = _wide([size, packed, header], extra)
        if method != 0 or size != packed or flags & _ENCRYPTED:
            raise ModelError(
                f"its entry {name!r:.100} is compressed, which torch never does: it could unpack to any size"
            )
        yield name, header, size


def _wide(values: list[int], extra: bytes) -> list[int]:
    """The values, with those that did not fit into 32 bits taken from the extra field."""
    if _IN_THE_EXTRA_FIELD not in values:
        return values
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, at)
        if kind == 1:
            numbers = iter(struct.unpack_from(f"<{min(length, len(extra) - at - 4) // 8}Q", extra, at + 4))
            return [next(numbers, value) if value == _IN_THE_EXTRA_FIELD else value for value in values]
        at += 4 + length
    return values


def _data_start(handle: int, header: int, name: str) -> int:
    """Where the bytes of an entry begin: behind its own header, which has to agree with the table of contents."""
    local = os.pread(handle, _LOCAL.size, header)
    signature, *_, name_length, extra_length = _LOCAL.unpack(local)
    own_name = os.pread(handle, name_length, header + _LOCAL.size)
    if signature != b"PK\x03\x04" or own_name != name.encode():
        raise ModelError(f"its entry {name!r:.100} is not where the table of contents says")
    return header + _LOCAL.size + name_length + extra_length


def _content(handle: int, entry: _Entry) -> bytes:
    if entry.size > MAX_PICKLE:
        raise ModelError(f"its entry {entry.name!r:.100} is larger than {MAX_PICKLE:,} bytes")
    return os.pread(handle, entry.size, entry.start)
