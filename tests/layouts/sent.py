"""What a process hands to others while it takes a step: every collective and every message, by the group that it goes through."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any, Final

import torch.distributed as dist
from torch.distributed.distributed_c10d import _resolve_process_group
from torch.utils._python_dispatch import TorchDispatchMode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import torch

_SPACES: Final = ("c10d", "_c10d_functional")
_NOTHING: Final = ("wait_tensor", "_wrap_tensor_autograd", "recv_", "recv_any_source_", "barrier")
# What one of n processes sends for so many bytes that it hands over, on a ring.
_RINGS: Final[dict[str, Callable[[int], float]]] = {
    "allreduce_": lambda n: 2 * (n - 1) / n,
    "all_reduce": lambda n: 2 * (n - 1) / n,
    "all_reduce_": lambda n: 2 * (n - 1) / n,
    "_allgather_base_": lambda n: n - 1,
    "allgather_": lambda n: n - 1,
    "all_gather_into_tensor": lambda n: n - 1,
    "_reduce_scatter_base_": lambda n: (n - 1) / n,
    "reduce_scatter_tensor": lambda n: (n - 1) / n,
    "alltoall_base_": lambda n: (n - 1) / n,
    "all_to_all_single": lambda n: (n - 1) / n,
    "broadcast_": lambda _: 1,
    "send": lambda _: 1,
}
# These name what they write to before what they send.
_SECOND: Final = ("_allgather_base_", "allgather_", "_reduce_scatter_base_", "alltoall_base_")


class Sent(TorchDispatchMode):
    """Inside, counts what this process sends on a ring, in bytes, by the name of the group and the operation.

    Collectives of Python and of C++ (DTensor, FSDP2, DDP, functional ones, pipelines) all go through torch's dispatcher, which asks
    here first. One that is not known is an error, so that none is left out.
    """

    def __init__(self) -> None:
        super().__init__()
        self.bytes: dict[tuple[str, str], float] = {}

    def __torch_dispatch__(self, function: Any, _types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        if function.namespace in _SPACES:
            self._count(function._schema.name.rpartition("::")[2], args)
        return function(*args, **(kwargs or {}))

    def _count(self, name: str, args: tuple[Any, ...]) -> None:
        if name in _NOTHING:
            return
        share = _RINGS[name]
        group = _group(args)
        size = sum(prod(each.shape) * each.itemsize for each in _tensors(args[name in _SECOND]))
        sent = size * share(group.size())
        key = group.group_name, name.strip("_")
        self.bytes[key] = self.bytes.get(key, 0.0) + sent


def _group(args: tuple[Any, ...]) -> dist.ProcessGroup:
    named = args[-1]
    if isinstance(named, str):
        return _resolve_process_group(named)
    for each in args:
        if isinstance(each, dist.ProcessGroup):
            return each
        if type(each).__name__ == "ScriptObject":
            try:
                return dist.ProcessGroup.unbox(each)
            except RuntimeError:
                continue
    raise AssertionError(args)


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    if hasattr(value, "itemsize"):
        yield value
    else:
        for each in value:
            yield from _tensors(each)
