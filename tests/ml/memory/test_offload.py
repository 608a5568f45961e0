"""Offloaded activations give the same gradients; the moving itself is exercised here with host memory as the device."""

from __future__ import annotations

import gc
from typing import Any

import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
offload = pytest.importorskip("forge.ml.memory.offload")
checkpointing = pytest.importorskip("forge.ml.memory.checkpointing")
memory_blocks = pytest.importorskip("forge.ml.memory.blocks")


@pytest.fixture
def moved(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The tensors that leave, with this machine's memory standing in for that of a GPU."""
    left: list[Any] = []
    leave = offload._Offloaded._leave
    monkeypatch.setattr(offload, "_on_host", lambda _: False)
    monkeypatch.setattr(offload._Offloaded, "_leave", lambda self, tensor: left.append(tensor) or leave(self, tensor))
    return left


@pytest.mark.parametrize("how", [False, True, 2, "selective"])
@pytest.mark.parametrize("ahead", [1, 5, 1000])
def test_gradients_are_the_same_bit_for_bit(
    llama: Any, gradients: Any, same: Any, loss_of: Any, moved: list[Any], how: Any, ahead: int
) -> None:
    model = llama()
    checkpointing.checkpoint_blocks(model, how)
    with offload.offload_activations(model, smallest=0, ahead=ahead):
        loss = loss_of(model, 0)
    loss.backward()
    assert moved
    assert same({name: parameter.grad for name, parameter in model.named_parameters()}, gradients(llama()))


def test_on_a_cpu_nothing_is_moved(llama: Any, gradients: Any, same: Any, loss_of: Any) -> None:
    model = llama()
    offloaded = offload._Offloaded(set(), 0, 5)
    tensor = torch.ones(4)
    assert offloaded.pack(tensor).data_ptr() == tensor.data_ptr()
    with offload.offload_activations(model, smallest=0):
        loss = loss_of(model, 0)
    loss.backward()
    assert same({name: parameter.grad for name, parameter in model.named_parameters()}, gradients(llama()))


def test_parameters_and_small_tensors_stay(llama: Any, loss_of: Any, moved: list[Any]) -> None:
    model = llama()
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    with offload.offload_activations(model, smallest=10_000):
        loss_of(model, 0)
    assert moved
    assert min(tensor.nbytes for tensor in moved) >= 10_000
    assert weights.isdisjoint(tensor.untyped_storage().data_ptr() for tensor in moved)


def test_what_several_operations_saved_is_moved_once(llama: Any, loss_of: Any, moved: list[Any]) -> None:
    model = llama()
    with offload.offload_activations(model, smallest=0):
        loss = loss_of(model, 0)  # noqa: F841 - keeps what was saved alive
    alive = [(tensor.data_ptr(), tensor.shape, tensor.stride()) for tensor in moved if tensor.numel() > 1]
    assert len(set(alive)) == len(alive)


def test_a_tensor_changed_after_it_was_saved_is_an_error_as_without_offloading(moved: list[Any]) -> None:
    weight = torch.ones(8, requires_grad=True)
    with offload.offload_activations(torch.nn.Linear(1, 1), smallest=0):
        value = torch.full((8,), 2.0)
        product = weight * value
        value.add_(1.0)
    with pytest.raises(RuntimeError, match="changed in place"):
        product.sum().backward()
    assert len(moved) == 1


def test_with_checkpoints_only_the_input_of_a_layer_is_moved(llama: Any, moved: list[Any]) -> None:
    model = llama()
    inputs = torch.randn(1, 3, 64, requires_grad=True)
    positions = model.model.rotary_emb(inputs, torch.arange(3)[None])
    block = memory_blocks.blocks(model)[0]
    counts = []
    for how in (False, True):
        checkpointing.checkpoint_blocks(model, how)
        moved.clear()
        with offload.offload_activations(model, smallest=0):
            block(inputs * 1.0, position_embeddings=positions).sum()
        counts.append([tuple(tensor.shape) for tensor in moved])
    assert len(counts[0]) > 10
    assert counts[1] == [(1, 3, 64)]


def test_no_more_than_a_few_wait_for_their_copy(moved: list[Any]) -> None:
    offloaded = offload._Offloaded(set(), 0, 3)
    saved = [offloaded.pack(torch.full((4,), float(number))) for number in range(10)]
    assert [one.on_device is None for one in saved] == [True] * 7 + [False] * 3
    assert [offloaded.unpack(one)[0].item() for one in reversed(saved)] == [
        float(number) for number in reversed(range(10))
    ]
    assert not offloaded.leaving
    assert len(moved) == 10


def test_what_is_needed_next_is_fetched_before(moved: list[Any]) -> None:
    offloaded = offload._Offloaded(set(), 0, 3)
    saved = [offloaded.pack(torch.full((4,), float(number))) for number in range(10)]
    offloaded.unpack(saved[6])
    assert [number for number, one in enumerate(saved[:7]) if one.on_device is not None] == [4, 5, 6]
    assert len(moved) == 10


@pytest.mark.parametrize("backward", [True, False])
def test_nothing_is_kept_afterwards(llama: Any, loss_of: Any, moved: list[Any], backward: object) -> None:
    before = _saved()
    model = llama()
    with offload.offload_activations(model, smallest=0):
        loss = loss_of(model, 0)
    if backward:
        loss.backward()
    del loss
    moved.clear()
    assert _saved() == before


def _saved() -> int:
    gc.collect()
    return sum(type(found) is offload._Saved for found in gc.get_objects())


@pytest.mark.parametrize(("device", "said"), [("cpu", "changes nothing here"), ("cuda", "wait in host memory")])
def test_the_log_says_what_happens(device: str, said: str) -> None:
    assert said in offload.offloading_described(device)
