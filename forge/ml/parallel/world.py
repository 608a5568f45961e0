"""The processes of a run: who this one is, and how they all come to know the same number."""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import torch
import torch.distributed as dist

from forge.base.errors import RunError
from forge.plan.layout import Layout

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch.distributed.device_mesh import DeviceMesh

__all__ = ["DIMENSIONS", "MESH", "World", "join"]

DIMENSIONS: Final = ("pp", "dp_replicate", "dp_shard", "cp", "tp")
MESH: Final = ("pp", "replicate", "shard", "tp")
# Data may take long to prepare, and all but the first process wait for it. Once steps are taken the config says how long.
_LONGEST_WAIT: Final = timedelta(hours=12)


@dataclass(frozen=True)
class World:
    """This process among those of a run; a run of one process is a world of its own, in which nothing is sent.

    The dimensions of ``mesh`` are `MESH`: the pieces of a sequence share weights as those do that read data of their own.
    """

    device: torch.device
    layout: Layout = field(default_factory=Layout)
    rank: int = 0
    size: int = 1
    mesh: DeviceMesh | None = None
    groups: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def alone(self) -> bool:
        """Whether there is no other process."""
        return self.size == 1

    @property
    def first(self) -> bool:
        """Whether this process speaks and writes for all."""
        return self.rank == 0

    @property
    def cuts_weights(self) -> bool:
        """Whether a process has pieces of weights only."""
        return self.layout.shards_state or self.layout.tp > 1

    @property
    def data_size(self) -> int:
        """How many processes, or groups of them, read data of their own."""
        return self.layout.dp_replicate * self.layout.dp_shard

    @property
    def data_rank(self) -> int:
        """Which of them this process belongs to."""
        return self.place("dp_replicate") * self.layout.dp_shard + self.place("dp_shard")

    def place(self, dimension: str) -> int:
        """Where this process is in a dimension of the mesh."""
        rest = self.rank
        for name in reversed(DIMENSIONS):
            rest, place = divmod(rest, getattr(self.layout, name))
            if name == dimension:
                return place
        raise KeyError(dimension)

    def seed(self, seed: int, step: int) -> int:
        """What a process draws in a step begins with: others see other rows or layers, and draw otherwise; those of tp see the same.

        It depends on nothing that was drawn before, so that a run that goes on from a checkpoint draws the same.
        """
        drawn_apart = (seed, step, self.rank // self.layout.tp)  # the innermost dimension
        return int.from_bytes(hashlib.blake2b(repr(drawn_apart).encode(), digest_size=8).digest(), "big")

    def sum(self, values: Sequence[float], over: str = "all") -> list[float]:
        """The sums of numbers of several processes: of ``all``, or of those that have ``data`` or ``loss`` of their own."""
        if self.alone:
            return list(values)
        numbers = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(numbers, group=self.groups[over])
        return numbers.tolist()

    def tell(self, value: Any = None) -> Any:
        """What the first process says, as plain data, in every process."""
        if self.alone:
            return value
        text = json.dumps(value).encode() if self.first else b""
        (length,) = self.sum([len(text)])
        content = (
            torch.frombuffer(bytearray(text), dtype=torch.uint8)
            if text
            else torch.empty(int(length), dtype=torch.uint8)
        )
        dist.broadcast(content, 0, group=self.groups["all"])
        return json.loads(content.numpy().tobytes())

    def exchange(self, value: Any) -> list[Any]:
        """What each process says, as plain data, in the order of the processes."""
        if self.alone:
            return [value]
        text = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
        lengths = [int(length) for length in self.sum([len(text) * (rank == self.rank) for rank in range(self.size)])]
        # All of one length, as gloo wants them.
        padded = [torch.zeros(max(lengths), dtype=torch.uint8) for _ in lengths]
        padded[self.rank][: len(text)] = text
        dist.all_gather(padded, padded[self.rank].clone(), group=self.groups["all"])
        return [json.loads(one[:length].numpy().tobytes()) for one, length in zip(padded, lengths, strict=True)]

    @contextmanager
    def first_goes_first(self) -> Iterator[None]:
        """Inside, the first process is done before the others begin, so that they find what it has made."""
        if not self.first:
            self.sum([0.0])
        yield
        if self.first:
            self.sum([0.0])

    def wait_at_most(self, seconds: float) -> None:
        """How long this process waits for others from now on, whatever it does with them; at most twelve hours."""
        if self.alone:
            return
        limit = timedelta(seconds=min(seconds, _LONGEST_WAIT.total_seconds()))
        for group in list(dist.distributed_c10d._world.pg_map):  # noqa: SLF001 - also those that torch has made by itself
            group.set_timeout(limit)

    def leave(self) -> None:
        """Take leave of the other processes, all of which have to do so."""
        if not self.alone:
            dist.destroy_process_group()


def join(layout: Layout, device: torch.device) -> World:
    """Find the other processes that the launcher has started, as the variables that torchrun sets tell."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    layout = _fitting(layout, size)
    if size == 1:
        return World(device, layout)
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    if not dist.is_initialized():  # one process may do several runs, one after another
        dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo", timeout=_LONGEST_WAIT)
    from torch.distributed.device_mesh import init_device_mesh

    degrees = tuple(getattr(layout, name) for name in DIMENSIONS)
    copies, pieces = layout.dp_replicate, layout.dp_shard * layout.cp
    if not layout.shards_state:
        copies, pieces = copies * pieces, 1
    mesh = init_device_mesh(device.type, (layout.pp, copies, pieces, layout.tp), mesh_dim_names=MESH)
    groups = {
        "all": dist.new_group(backend="gloo", timeout=_LONGEST_WAIT),
        "data": _group(degrees, ("dp_replicate", "dp_shard", "cp")),
        "cp": _group(degrees, ("cp",), backend=None),
        "loss": _group(degrees, ("pp", "dp_replicate", "dp_shard", "cp")),
    }
    return World(device, layout, dist.get_rank(), size, mesh, groups)


def _fitting(layout: Layout, size: int) -> Layout:
    try:
        return layout.for_ranks(size)
    except ValueError as error:
        hint = "start as many processes as the layout needs, or choose another one, such as parallel=fsdp"
        raise RunError(str(error), hint=hint) from error


def _group(degrees: Sequence[int], dimensions: Sequence[str], backend: str | None = "gloo") -> Any:
    """The group, with this process, of those that differ from it in these dimensions only; None: for tensors on any device."""
    ranks = torch.arange(torch.tensor(degrees).prod().item()).reshape(tuple(degrees))
    inner = [number for number, name in enumerate(DIMENSIONS) if name in dimensions]
    outer = [number for number in range(len(DIMENSIONS)) if number not in inner]
    size = 1
    for number in inner:
        size *= degrees[number]
    mine = None
    for members in ranks.permute(*outer, *inner).reshape(-1, size).tolist():
        group = dist.new_group(members, backend=backend, timeout=_LONGEST_WAIT)
        mine = group if dist.get_rank() in members else mine
    return mine
