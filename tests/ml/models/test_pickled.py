"""Pickles: what torch writes is read, and everything else is refused, fast and without effect."""

from __future__ import annotations

import io
import pickle
import pickletools
import random
import time
import tracemalloc
import zipfile
from collections import OrderedDict
from typing import Any

import hostile_files as files
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forge.base.errors import ModelError
from forge.ml.models.pickled import MAX_PICKLE, TensorRecord, read_records

RECORD = TensorRecord("0", 4, "float32", 0, (4,), (1,))


class _Runs:
    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def _nested(depth: int) -> bytes:
    """A tuple of itself twice, and again: exponentially large when it is walked."""
    return b"\x80\x02)" + b"".join(b"q" + bytes([i % 256]) + b"h" + bytes([i % 256]) + b"\x86" for i in range(depth))


HOSTILE = {
    "a system call": pickle.dumps({"a": _Runs(__import__("os").system, "touch /tmp/never")}),
    "eval": pickle.dumps({"a": _Runs(eval, "1+1")}, 4),
    "a nested pickle": pickle.dumps({"a": _Runs(pickle.loads, b"N.")}, 2),
    "torch.load": b"\x80\x02}(" + files.text("a") + b"ctorch\nload\n" + files.tuple_of([files.text("x")]) + b"Ru.",
    "a name of torch that is no storage": b"\x80\x02ctorch\nTensor\n.",
    "getattr by stack": b"\x80\x04" + files.text("builtins") + files.text("getattr") + b"\x93.",
    "a name made of a bomb": b"\x80\x04" + _nested(60)[2:] + files.text("x") + b"\x93.",
    "a persistent id that is no storage": b"\x80\x02" + files.text("storage") + b"Q.",
    "an old instance": b"\x80\x02(ios\nsystem\n.",
    "an object": b"\x80\x02(cos\nsystem\no.",
    "an extension": b"\x80\x02\x82\x01.",
    "a call of a text": b"\x80\x02" + files.text("os") + b")R.",
    "a bomb as a key": b"\x80\x02}" + _nested(60)[2:] + b"Ns.",
    "a bomb as a shape": files.state_dict(a=files.tensor()).replace(b"u.", b"")[:5] + _nested(80)[2:] + b".",
    "endless": b"\x80\x02" + b"N" * 400_000,
    "too large": b"\x80\x02" + files.text("x" * MAX_PICKLE) + b".",
    "a lying length": b"\x80\x02X\xff\xff\xff\x7fabc.",
    "a lying long length": b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\x7fabc.",
    "a negative length": b"\x80\x02\x8b\xff\xff\xff\xffabc.",
    "an empty stack": b"\x80\x02R.",
    "a memo that is not there": b"\x80\x02h\x07.",
    "no mark": b"\x80\x02NNt.",
    "no end": b"\x80\x02}",
    "nothing": b"",
    "noise": random.Random(0).randbytes(4096),
    "no dict": pickle.dumps([1, 2]),
    "a value that is no tensor": pickle.dumps({"epoch": 3}),
    "a dict inside": pickle.dumps({"state_dict": {"a": {}}}),
    "a name that is no text": b"\x80\x02}K\x01" + files.tensor() + b"s.",
    "a negative shape": files.state_dict(a=files.tensor(shape=(-4,))),
    "a negative stride": files.state_dict(a=files.tensor(stride=(-1,))),
    "a negative offset": files.state_dict(a=files.tensor(offset=-1)),
    "a truth as a shape": files.state_dict(a=files.tensor()).replace(files.tuple_of([files.number(4)]), b"(\x88t", 1),
    "an endless number": files.state_dict(a=files.tensor(shape=(1 << 900,))),
    "a hundred dimensions": files.state_dict(a=files.tensor(shape=(1,) * 100, stride=(1,) * 100)),
    "more sizes than strides": files.state_dict(a=files.tensor(shape=(2, 2), stride=(1,))),
    "a storage of objects": files.state_dict(a=files.tensor(kind="ObjectStorage")),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_no_state_dict_needs_is_refused_at_once(name: str) -> None:
    tracemalloc.start()
    began = time.perf_counter()
    try:
        with pytest.raises(ModelError) as caught:
            read_records(HOSTILE[name])
        taken, peak = time.perf_counter() - began, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert taken < 10  # tracing alone makes it some ten times slower than the second that is promised
    assert peak < 64 << 20
    assert len(str(caught.value)) < 400


def test_a_state_dict_of_torch_is_read() -> None:
    torch = pytest.importorskip("torch")
    tensors = OrderedDict(
        a=torch.zeros(3, 4), b=torch.zeros(5, dtype=torch.bfloat16)[1:3], c=torch.nn.Parameter(torch.zeros(2, 3).t())
    )
    tensors._metadata = {"": {"version": 1}}
    found = io.BytesIO()
    torch.save(tensors, found)
    content = zipfile.ZipFile(found).read("archive/data.pkl")
    records = read_records(content)
    assert list(records) == ["a", "b", "c"]
    assert records["a"] == TensorRecord("0", 12, "float32", 0, (3, 4), (4, 1))
    assert records["b"] == TensorRecord("1", 5, "bfloat16", 1, (2,), (1,))
    assert records["c"] == TensorRecord("2", 6, "float32", 0, (3, 2), (1, 3))


def test_the_other_ways_to_write_the_same_are_read() -> None:
    assert read_records(files.state_dict(a=files.tensor())) == {"a": RECORD}
    framed = pickletools.optimize(files.state_dict(a=files.tensor(), b=files.tensor()))
    assert read_records(framed) == {"a": RECORD, "b": RECORD}


@settings(max_examples=300)
@given(data=st.data())
def test_a_damaged_pickle_is_a_model_error_or_still_tensors(data: st.DataObject) -> None:
    content = bytearray(files.state_dict(a=files.tensor(), b=files.tensor(key="1")))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = read_records(bytes(content))
    except ModelError:
        return
    assert all(isinstance(record, TensorRecord) for record in found.values())
