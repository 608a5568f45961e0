"""Which of the processes of a run writes what of a checkpoint: each a share, and none has more than its share whole at a time."""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import torch

from forge.ml.parallel.pieces import whole, wholes

if TYPE_CHECKING:
    from collections.abc import Collection, Hashable, Mapping

    from forge.ml.parallel.world import World

__all__ = ["Shares", "everybody_sees", "own_optimizer", "own_weights"]

_LAYER: Final = re.compile(r".*?\.\d+(?=\.)")
_LOOKS: Final = 50
_PAUSE: Final = 0.1
_WORTH_A_FILE: Final = 256 << 20


@dataclass(frozen=True)
class Shares:
    """Who writes, of the processes that have the same weights or pieces of them: the first ``writers`` of these."""

    place: int
    writers: int

    @staticmethod
    def among(world: World, size: int, writers: int | None = None) -> Shares:
        """The share of this process where a place of the pipeline has so many bytes of weights.

        By default nobody writes less than is worth a file of its own.
        """
        fellows = world.size // world.layout.pp
        return Shares(world.rank % fellows, max(1, min(fellows, writers or size // _WORTH_A_FILE)))

    def mine(self, sizes: Mapping[Hashable, int]) -> set[Hashable]:
        """What this process writes of things in an order: neighbours, of about as many bytes as every other writer has."""
        total, before, found = max(1, sum(sizes.values())), 0, set()
        for name, size in sizes.items():
            if min((before + size // 2) * self.writers // total, self.writers - 1) == self.place:
                found.add(name)
            before += size
        return found


def everybody_sees(world: World, folder: str) -> bool:
    """Whether the folder, which the first process has made, is one that all processes see."""
    mark = world.tell(os.stat(folder).st_ino if world.first else None)
    return all(world.exchange(_sees(folder, mark)))


def _sees(folder: str, mark: int) -> bool:
    """Network file systems show a new folder a few seconds late."""
    for _ in range(_LOOKS):
        try:
            if os.stat(folder).st_ino == mark:
                return True
        except OSError:
            pass
        time.sleep(_PAUSE)
    return False


def own_weights(
    shares: Shares, state: Mapping[str, torch.Tensor], without: Collection[str] = ()
) -> dict[str, torch.Tensor]:
    """The weights that this process writes, whole and in memory of their own; every process has to ask.

    Those of a layer stay together, since some files have them joined.
    """
    state = {name: tensor for name, tensor in state.items() if name not in without}
    sizes: dict[Hashable, int] = {}
    for name, tensor in state.items():
        sizes[_part(name)] = sizes.get(_part(name), 0) + tensor.nbytes
    mine = shares.mine(sizes)
    found = {}
    for name, tensor in state.items():
        full = whole(tensor)  # a matter of all, also of those who have no use for it
        if _part(name) in mine:
            found[name] = _copy(full)
    return found


def own_optimizer(shares: Shares, state: Mapping[str, Any]) -> dict[str, Any]:
    """The state of an optimizer, of which this process has its share whole, and the rest on the meta device."""
    remembered = state["state"]
    mine = shares.mine({number: _bytes(value) for number, value in remembered.items()})
    rest = {key: _kept(value, mine=shares.place == 0) for key, value in state.items() if key != "state"}
    return {"state": {number: _kept(value, mine=number in mine) for number, value in remembered.items()}, **rest}


def _part(name: str) -> str:
    layer = _LAYER.match(name)
    return layer[0] if layer else name


def _kept(value: Any, *, mine: bool) -> Any:
    return wholes(value, _copy if mine else (lambda tensor: torch.empty_like(tensor, device="meta")))


def _copy(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().to("cpu", copy=True)


def _bytes(value: Any) -> int:
    if isinstance(value, torch.Tensor):
        return value.nbytes
    if isinstance(value, dict):
        return sum(map(_bytes, value.values()))
    return sum(map(_bytes, value)) if isinstance(value, (list, tuple)) else 0
