"""Zips that torch saved, and zips that lie about what is where."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import time
import zlib
from typing import TYPE_CHECKING, Any

import hostile_files as files
import pytest

from forge.base.errors import ModelError
from forge.ml.models.archive import TensorPlace, tensor_places

if TYPE_CHECKING:
    from pathlib import Path

FOUR = bytes(16)
ONE = files.state_dict(a=files.tensor())
BOMB = zlib.compressobj(9, zlib.DEFLATED, -15)
PACKED = BOMB.compress(bytes(64 << 20)) + BOMB.flush()
MANY = [files.Entry(f"archive/data/{i}", b"") for i in range(20_001)]


def _listed(count: int, size: int, begin: int) -> bytes:
    whole = files.torch_file(ONE)
    return whole[:-22] + struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, count, count, size, begin, 0)


def _with_header(told: int) -> bytes:
    return files.torch_file(ONE, told_header=told)


def _wide_end(begin: int) -> bytes:
    whole = files.torch_file(ONE)[:-22]
    end = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 3, 3, 1 << 40, begin)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, len(whole), 1)
    return whole + end + locator + struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, *[0xFFFF] * 2, *[0xFFFFFFFF] * 2, 0)


HOSTILE = {
    "nothing": b"",
    "noise": os.urandom(5000),
    "another zip": files.zip_of([files.Entry("a.txt", b"a")]),
    "two descriptions": files.zip_of([files.Entry("a/data.pkl", ONE), files.Entry("b/data.pkl", ONE)]),
    "a bomb of 1 to 1000 as storage": files.torch_file(ONE, {"0": bytes(64 << 20)}, packed=PACKED),
    "a bomb of 1 to 1000 as description": files.zip_of([files.Entry("a/data.pkl", bytes(64 << 20), packed=PACKED)]),
    "an encrypted entry": files.torch_file(ONE, flags=1),
    "a size larger than the entry": files.torch_file(ONE, told_size=1 << 31),
    "a size smaller than the storage": files.torch_file(ONE, told_size=8),
    "a size in an extra field that is not there": files.torch_file(ONE, told_size=0xFFFFFFFF),
    "an entry over another": _with_header(0),
    "an entry inside itself": _with_header(3),
    "an entry behind the end": _with_header(1 << 31),
    "the same entry twice": files.zip_of([files.Entry("a/data.pkl", ONE)] + [files.Entry("a/data/0", FOUR)] * 2),
    "too many entries": files.zip_of(MANY),
    "a directory behind the end": _listed(3, 200, 1 << 31),
    "a directory that is too large": _listed(3, 1 << 31, 0),
    "a directory with more entries than it has": _listed(65_000, 200, 0),
    "a wide directory behind the end": _wide_end(1 << 60),
    "a large description": files.torch_file(bytes(5 << 20)),
    "big end first": files.zip_of([files.Entry("a/data.pkl", ONE), files.Entry("a/byteorder", b"big")]),
    "no storage": files.torch_file(ONE, {}),
    "a path as a storage": files.torch_file(files.state_dict(a=files.tensor(key="../../data.pkl"))),
    "a window behind the storage": files.torch_file(files.state_dict(a=files.tensor(offset=1))),
    "steps behind the storage": files.torch_file(files.state_dict(a=files.tensor(stride=(2,)))),
    "one number as a matrix": files.torch_file(
        files.state_dict(a=files.tensor(shape=(1 << 20, 1 << 20), stride=(0, 0)))
    ),
    "a storage that is told longer": files.torch_file(
        files.state_dict(a=files.tensor(length=1 << 40, shape=(1 << 40,)))
    ),
    "a payload": files.torch_file(b"\x80\x02cposix\nsystem\n" + files.text("touch never") + b"\x85R."),
}

PROGRAM = """
import json, os, sys, time
from forge.base.errors import ModelError
from forge.ml.models.archive import tensor_places
seen = []
sys.addaudithook(lambda event, _: seen.append(event) if event in {"pickle.find_class", "os.system", "import"} else None)

def memory(key):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(key))

report = {}
for name in os.listdir(sys.argv[1]):
    handle = os.open(os.path.join(sys.argv[1], name), os.O_RDONLY)
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # the peak is counted anew
    before, began = memory("VmRSS"), time.process_time()
    try:
        tensor_places(handle, name)
    except ModelError:
        report[name] = [time.process_time() - began, memory("VmHWM") - before]
print(json.dumps([report, seen]))
"""


def _places(path: Path, content: bytes) -> dict[str, TensorPlace]:
    path.write_bytes(content)
    handle = os.open(path, os.O_RDONLY)
    try:
        return tensor_places(handle, str(path))
    finally:
        os.close(handle)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_file_that_lies_is_refused(name: str, tmp_path: Path) -> None:
    began = time.perf_counter()
    with pytest.raises(ModelError) as caught:
        _places(tmp_path / "file.bin", HOSTILE[name])
    assert time.perf_counter() - began < 10
    assert str(caught.value).startswith(str(tmp_path / "file.bin"))
    assert len(str(caught.value)) < 600


@pytest.mark.skipif(not os.path.exists("/proc/self/clear_refs"), reason="needs Linux to see the peak of one call")
def test_files_that_lie_cost_a_second_and_64_megabytes_at_most_and_run_nothing(tmp_path: Path) -> None:
    for name, content in HOSTILE.items():
        (tmp_path / name).write_bytes(content)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, tmp_path], capture_output=True, text=True, check=True, timeout=250
    )
    report, seen = json.loads(done.stdout)
    assert set(report) == set(HOSTILE)
    assert {name: cost for name, cost in report.items() if cost[0] > 1 or cost[1] > 64 << 10} == {}
    assert seen == []


def test_what_torch_saved_is_found(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    shared = torch.arange(12.0)
    tensors: dict[str, Any] = {
        "whole": shared,
        "window": shared[2:8].view(2, 3).t(),
        "half": torch.ones(5, dtype=torch.float16),
        "none": torch.empty(0, 3),
    }
    torch.save(tensors, tmp_path / "saved.bin")
    content = (tmp_path / "saved.bin").read_bytes()
    places = _places(tmp_path / "again.bin", content)
    assert places["whole"].shape == (12,)
    assert places["window"] == TensorPlace(places["whole"].start + 8, 6, "float32", (3, 2), (1, 3))
    assert places["half"].dtype == "float16"
    assert places["none"].length == 0
    start = places["whole"].start
    assert content[start : start + 48] == shared.numpy().tobytes()


def test_the_old_format_says_how_to_convert_it(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    torch.save({"a": torch.zeros(3)}, tmp_path / "old.bin", _use_new_zipfile_serialization=False)
    with pytest.raises(ModelError, match="before version") as caught:
        _places(tmp_path / "old.bin", (tmp_path / "old.bin").read_bytes())
    assert "torch.save(torch.load(FILE, weights_only=True), FILE)" in str(caught.value)


def test_sizes_beyond_four_gigabytes_are_read_from_the_extra_field(tmp_path: Path) -> None:
    """As torch writes them; the file has a hole in it, so that it needs no room."""
    torch = pytest.importorskip("torch")
    path = tmp_path / "large.bin"
    with open(path, "wb") as file:
        file.truncate(1)
    size = (4 << 30) + 64
    name = b"archive/data/0"
    pickle = files.state_dict(a=files.tensor(length=size // 4, offset=size // 4 - 4))
    head = b"archive/data.pkl"
    body = (
        struct.pack("<4s5H3L2H", b"PK\x03\x04", 20, 0, 0, 0, 0, 0, len(pickle), len(pickle), len(head), 0)
        + head
        + pickle
    )
    local = struct.pack("<4s5H3L2H", b"PK\x03\x04", 45, 0, 0, 0, 0, 0, 0xFFFFFFFF, 0xFFFFFFFF, len(name), 0) + name
    extra = struct.pack("<2H2Q", 1, 16, size, size)
    directory = (
        struct.pack(
            "<4s6H3L5H2L", b"PK\x01\x02", 20, 20, 0, 0, 0, 0, 0, len(pickle), len(pickle), len(head), 0, 0, 0, 0, 0, 0
        )
        + head
    )
    directory += struct.pack(
        *("<4s6H3L5H2L", b"PK\x01\x02", 45, 45, 0, 0, 0, 0, 0, 0xFFFFFFFF, 0xFFFFFFFF),
        *(len(name), len(extra), 0, 0, 0, 0, len(body)),
    )
    directory += name + extra
    begin = len(body) + len(local) + size
    end = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 2, 2, len(directory), begin)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, begin + len(directory), 1)
    last = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    with open(path, "wb") as file:
        file.write(body + local)
        file.seek(begin)
        file.write(directory + end + locator + last)
    handle = os.open(path, os.O_RDONLY)
    try:
        assert tensor_places(handle, "F") == {"a": TensorPlace(begin - 16, 4, "float32", (4,), (1,))}
    finally:
        os.close(handle)
    assert torch.float32.itemsize == 4
