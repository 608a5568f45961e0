from __future__ import annotations

import json
import math
import os
import random
import struct
import subprocess
import sys
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import pytest

from forge.base.errors import CheckpointError

np = pytest.importorskip("numpy")
torch = pytest.importorskip("torch")

from forge.ml.checkpoint.state import (  # noqa: E402
    STATE_FILE,
    pack,
    pack_parts,
    random_state,
    read_state,
    set_random_state,
    unpack,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from forge.ml.checkpoint.store import Store

pytestmark = pytest.mark.torch


def through_json(value: Any) -> Any:
    """A value as it comes back from disk."""
    tensors, tree = pack(value)
    return unpack(
        {name: tensor.clone() for name, tensor in tensors.items()}, json.loads(json.dumps(tree, allow_nan=False))
    )


def bits(value: float) -> bytes:
    return struct.pack(">d", value)


def alike(one: Any, other: Any) -> bool:
    """The same types, values and order, floats and tensors bit by bit."""
    if isinstance(one, torch.Tensor):
        same = type(other) is torch.Tensor and one.dtype == other.dtype and one.shape == other.shape
        raw = [t.detach().contiguous().flatten().view(torch.uint8) for t in (one, other)] if one.numel() else [one, one]
        return same and torch.equal(*raw)
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return list(one) == list(other) and all(alike(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(alike, one, other))
    return bits(one) == bits(other) if isinstance(one, float) else one == other


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        0,
        -(10**40),
        "grüße\n\0",
        [],
        (),
        {},
        [1, (2, [3, (4,)]), {"a": (None, True)}],
        {0: "integer keys", 1: {2: [3]}, -5: None},
        {"%": "the tag itself", "a": 1},
        {1: "one", "1": "text", (1, 2): "pair", None: 0},
        [0.1, -0.0, 5e-324, 1.7976931348623157e308, 1 / 3],
        [math.inf, -math.inf, math.nan, struct.unpack(">d", bytes.fromhex("fff8000000000123"))[0]],
        torch.float32,
        torch.Size([2, 3]),
        torch.tensor(3.5),
        torch.zeros(0, 4),
        torch.arange(6).reshape(2, 3).t(),
        {
            "a": torch.ones(2, dtype=torch.bfloat16),
            "b.c": [torch.ones(1, dtype=torch.bool)],
            "b": {"c": [torch.zeros(3)]},
        },
        [torch.tensor([math.nan, -0.0, math.inf])],
    ],
    ids=lambda value: repr(value)[:40],
)
def test_what_is_packed_comes_back_bit_by_bit(value: Any) -> None:
    assert alike(value, through_json(value))


def test_dicts_of_other_classes_come_back_as_dicts_and_numpy_numbers_as_numbers() -> None:
    assert alike(through_json(OrderedDict(b=1, a=np.int64(2), c=np.float64(0.5))), {"b": 1, "a": 2, "c": 0.5})


def test_a_tensor_that_stands_in_two_places_is_saved_once() -> None:
    shared = torch.ones(3)
    tensors, tree = pack({"a": shared, "b": [shared]})
    assert list(tensors) == ["a"]
    found = unpack(tensors, tree)
    assert found["a"] is found["b"][0]


@pytest.mark.parametrize(
    ("value", "where"),
    [
        ({"a": [1, {2}]}, r"a\.1 cannot be saved: it is a builtins\.set"),
        (object(), "the state cannot be saved"),
        ({"f": bits}, "f cannot be saved"),
        ({object(): 1}, "cannot be saved"),
        (
            {"t": torch.ones(2).as_subclass(type("Mine", (torch.Tensor,), {}))},
            r"t cannot be saved: it is a tensor of the class .*Mine",
        ),
    ],
)
def test_what_cannot_be_packed_is_named_with_its_place(value: Any, where: str) -> None:
    with pytest.raises(CheckpointError, match=where):
        pack(value)


@pytest.mark.parametrize(
    "tree",
    [
        {"%": "object", "class": "os.system"},
        {"%": "composed", "class": "os.system", "tensors": {}, "context": []},
        {"%": "dtype", "name": "load"},
    ],
)
def test_a_tree_can_name_nothing_but_what_is_known(tree: Any) -> None:
    with pytest.raises(CheckpointError):
        unpack({}, tree)


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "Adafactor", "RMSprop", "NAdam", "Muon"])
def test_each_optimizer_goes_on_as_if_nothing_had_happened(name: str) -> None:
    kind = getattr(torch.optim, name)

    def made() -> tuple[Any, Any]:
        torch.manual_seed(0)
        weight = torch.nn.Parameter(torch.randn(8, 4))
        settings = {"momentum": 0.9} if name == "SGD" else {}
        optimizer = kind([weight], lr=0.1, **settings)
        return weight, optimizer

    def step(weight: Any, optimizer: Any, number: int) -> None:
        optimizer.zero_grad()
        (weight * (number + 1)).square().sum().backward()
        optimizer.step()

    weight, optimizer = made()
    for number in range(3):
        step(weight, optimizer, number)
    kept, values = through_json(optimizer.state_dict()), weight.detach().clone()
    step(weight, optimizer, 3)
    other, second = made()
    with torch.no_grad():
        other.copy_(values)
    second.load_state_dict(kept)
    step(other, second, 3)
    assert torch.equal(weight, other)
    assert alike(optimizer.state_dict(), second.state_dict())


@pytest.mark.parametrize(
    ("module", "name"),
    [("subclass_8bit", "OptimState8bit"), ("subclass_4bit", "OptimState4bit"), ("subclass_fp8", "OptimStateFp8")],
)
def test_low_bit_states_of_torchao_come_back(module: str, name: str) -> None:
    kind = getattr(pytest.importorskip(f"torchao.optim.{module}"), name)
    one = kind.zeros((64, 256))
    one.copy_(torch.randn(64, 256))
    found = through_json({"state": {0: {"exp_avg": one}}})["state"][0]["exp_avg"]
    assert type(found) is kind
    assert (found.shape, found.dtype) == (one.shape, one.dtype)
    names, context = one.__tensor_flatten__()
    assert list(context) == list(found.__tensor_flatten__()[1])
    assert all(alike(getattr(one, inner), getattr(found, inner)) for inner in names)
    assert torch.equal(one.dequantize(), found.dequantize())
    assert one.dequantize().any()


def draw() -> list[Any]:
    return [random.random(), np.random.rand(3).tolist(), torch.rand(3).tolist(), random.gauss(0, 1)]


def test_the_random_generators_go_on_from_where_they_were() -> None:
    random.seed(1)
    draw()  # the odd number of Gaussian draws leaves one in reserve
    kept = through_json(random_state())
    first = draw()
    random.seed(2)
    np.random.seed(3)
    torch.manual_seed(4)
    assert draw() != first
    set_random_state(kept)
    assert draw() == first


def saved(store: Store, state: dict[str, Any]) -> str:
    files, tree = pack_parts(state)
    with store.begin(1) as stage:
        for name, tensors in files.items():
            stage.write_tensors(name, tensors)
        stage.write_bytes(STATE_FILE, tree)
        return stage.commit()


def test_the_state_of_a_run_is_read_from_its_files(store: Store) -> None:
    state = {"optimizer": {"state": {0: {"m": torch.randn(3)}}}, "counts": {"step": 4}, "scaler": None}
    path = saved(store, state)
    assert sorted(os.listdir(os.path.join(path, "state"))) == ["optimizer.safetensors", "state.json"]
    assert alike(read_state(path), state)


@pytest.mark.parametrize("name", ["state.json", "optimizer.safetensors"])
def test_a_damaged_state_is_not_used(store: Store, name: str) -> None:
    path = saved(store, {"optimizer": {"m": torch.ones(3)}})
    with open(os.path.join(path, "state", name), "r+b") as file:
        file.seek(-2, os.SEEK_END)
        file.write(b"7")
    with pytest.raises(CheckpointError, match=f"{name} is not as it was written"):
        read_state(path)


def test_a_checkpoint_of_a_model_alone_cannot_be_resumed(add: Callable[..., str], store: Store, tmp_path: Path) -> None:
    assert read_state(add(1)) == {"step": 1}
    with store.begin(2) as stage:
        stage.write_bytes("config.json", b"{}")
        path = stage.commit()
    with pytest.raises(CheckpointError, match="holds a model and no state of a run"):
        read_state(path)
    with pytest.raises(CheckpointError, match="is missing"):
        read_state(tmp_path)


AUDITED = """
import sys
seen = []
import torch
from forge.ml.checkpoint.saver import Saver
from forge.ml.checkpoint.state import random_state, read_state, set_random_state
from forge.ml.checkpoint.store import Store
model = torch.nn.Linear(4, 4)
optimizer = torch.optim.AdamW(model.parameters())
model(torch.ones(1, 4)).sum().backward()
optimizer.step()
sys.addaudithook(lambda event, _: seen.append(event) if event.startswith(("pickle", "marshal.load")) else None)
store = Store(sys.argv[1])
saver = Saver(store)
saver.save([("model.safetensors", model.state_dict())], {"optimizer": optimizer.state_dict(), "random": random_state()}, 1)
saver.wait()
found = read_state(store.newest().path)
optimizer.load_state_dict(found["optimizer"])
set_random_state(found["random"])
print(sorted(set(seen) & {"pickle.find_class"}))
"""


def test_nothing_is_pickled_or_unpickled(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", AUDITED, str(tmp_path / "checkpoints")], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr
