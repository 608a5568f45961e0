"""Activation offloading: what the backward pass will need waits in host memory instead of on the GPU.

A copy to the host runs on a stream of its own beside the computation, into pinned memory; at most `ahead` tensors are held on
the GPU because their copy is not done. The backward pass fetches the next ones before it needs them. A tensor that
several operations saved is copied once. On a CPU there is no other memory to go to: nothing is copied.
"""

from __future__ import annotations

import contextlib
import weakref
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch.autograd.graph import saved_tensors_hooks
from torch.multiprocessing.reductions import StorageWeakRef

from forge.ml.memory.remaking import kept_elsewhere

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn

__all__ = ["offload_activations", "offloading_described"]

_SMALLEST = 1024 * 1024
_AHEAD = 5


def offloading_described(device: torch.device | str) -> str:
    """A sentence for the log: what offloading does on this device."""
    if torch.device(device).type == "cpu":
        return "enable_activation_offloading changes nothing here: on a CPU the activations are in host memory already"
    return f"activations of {_SMALLEST // 1024**2} MiB and more wait in host memory for the backward pass"


@contextlib.contextmanager
def offload_activations(model: nn.Module, *, smallest: int = _SMALLEST, ahead: int = _AHEAD) -> Iterator[None]:
    """Offload what the forward pass inside this context saves, except parameters and tensors below `smallest` bytes.

    The backward pass may run outside of it. With checkpointed layers only the inputs of the layers are saved, and so offloaded.
    Without, autocast's copies of the weights are saved too and wait on the host with the rest.
    """
    if all(_on_host(parameter) for parameter in model.parameters()):
        yield
        return
    kept = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    offloaded = _Offloaded(kept, smallest, ahead)
    with kept_elsewhere(), saved_tensors_hooks(offloaded.pack, offloaded.unpack):
        yield


@dataclass(eq=False)
class _Saved:
    """One saved tensor: on its device until the copy is done, on the host, and back again."""

    number: int
    device: torch.device
    on_device: torch.Tensor | None
    on_host: torch.Tensor
    version: int
    copied: Any = None  # the event after the copy to the host
    fetched: Any = None  # the event after the copy back


@dataclass(eq=False)
class _Offloaded:
    """The saved tensors of one forward pass."""

    kept: set[int]
    smallest: int
    ahead: int
    leaving: OrderedDict[int, _Saved] = field(default_factory=OrderedDict)
    waiting: weakref.WeakValueDictionary[int, _Saved] = field(default_factory=weakref.WeakValueDictionary)
    known: dict[Any, tuple[StorageWeakRef, weakref.ref[_Saved]]] = field(default_factory=dict)
    streams: dict[torch.device, Any] = field(default_factory=dict)
    count: int = 0

    def pack(self, tensor: torch.Tensor) -> torch.Tensor | _Saved:
        # Attached, the output of an operation and the operation would keep each other alive for ever.
        tensor = tensor.detach()
        if not self._worthwhile(tensor):
            return tensor
        storage = tensor.untyped_storage()
        key = (storage._cdata, tensor.storage_offset(), tensor.shape, tensor.stride(), tensor.dtype, tensor._version)  # noqa: SLF001 - the identity of a storage has no public name
        alive, saved = self.known.get(key, (None, lambda: None))
        same = saved()
        if same is not None and alive is not None and not alive.expired():
            return same
        saved = self._leave(tensor)
        # The reference keeps the storage's address from being given to another tensor, not its memory.
        self.known[key] = (StorageWeakRef(storage), weakref.ref(saved))
        return saved

    def unpack(self, packed: torch.Tensor | _Saved) -> torch.Tensor:
        if isinstance(packed, torch.Tensor):
            return packed
        if self.leaving.pop(packed.number, None) is not None and packed.on_device._version != packed.version:  # noqa: SLF001
            raise RuntimeError("a tensor that the backward pass needs was changed in place after it was saved")
        # Those saved just before are needed next.
        for number in range(packed.number, packed.number - self.ahead, -1):
            if number in self.waiting:
                self._fetch(self.waiting[number])
        _wait(packed.device, packed.fetched)
        # It stays on the device until the last operation that saved it is done, as it would have without offloading.
        return packed.on_device

    def _worthwhile(self, tensor: torch.Tensor) -> bool:
        return (
            not _on_host(tensor)
            # An expanded tensor may be large and its storage small.
            and min(tensor.nbytes, tensor.untyped_storage().nbytes()) >= self.smallest
            # A view of a weight, such as its transpose, shares the weight's memory.
            and tensor.untyped_storage().data_ptr() not in self.kept
        )

    def _leave(self, tensor: torch.Tensor) -> _Saved:
        """Begin the copy to the host; the oldest tensor whose copy is awaited makes room."""
        with self._beside(tensor.device) as stream:
            host = torch.empty_like(tensor, device="cpu", pin_memory=stream is not None)
            host.copy_(tensor, non_blocking=stream is not None)
        saved = _Saved(self.count, tensor.device, tensor, host, tensor._version, copied=_event(stream))  # noqa: SLF001
        self.count += 1
        self.leaving[saved.number] = saved
        self.waiting[saved.number] = saved
        while len(self.leaving) > self.ahead:
            self._let_go(self.leaving.popitem(last=False)[1])
        return saved

    def _let_go(self, saved: _Saved) -> None:
        # Its memory may be used again by the computation only after the copy.
        _wait(saved.device, saved.copied)
        saved.on_device = None

    def _fetch(self, saved: _Saved) -> None:
        """Begin the copy back."""
        if saved.on_device is not None:
            return
        computing = _stream(saved.device)
        with self._beside(saved.device) as stream:
            saved.on_device = saved.on_host.to(saved.device, non_blocking=stream is not None)
            saved.fetched = _event(stream)
        if stream is not None:
            # Allocated on the copying stream, used on the computing one.
            saved.on_device.record_stream(computing)

    @contextlib.contextmanager
    def _beside(self, device: torch.device) -> Iterator[Any]:
        """The copying stream, made to wait for what was computed so far; None where a device has no streams."""
        if device.type != "cuda":
            yield None
            return
        if device not in self.streams:
            self.streams[device] = torch.cuda.Stream(device)
        stream = self.streams[device]
        stream.wait_stream(_stream(device))
        with torch.cuda.stream(stream):
            yield stream


def _on_host(tensor: torch.Tensor) -> bool:
    return tensor.device.type in ("cpu", "meta")


def _stream(device: torch.device) -> Any:
    """The stream the computation runs on."""
    return torch.cuda.current_stream(device) if device.type == "cuda" else None


def _event(stream: Any) -> Any:
    return None if stream is None else stream.record_event()


def _wait(device: torch.device, event: Any) -> None:
    if event is not None:
        _stream(device).wait_event(event)
