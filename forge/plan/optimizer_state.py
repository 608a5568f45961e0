"""What optimizers remember of each weight, and what they need while they take a step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["Matrix", "OptimizerKind", "OptimizerPlan", "optimizer_plan"]

OptimizerKind = Literal["adamw", "adamw_8bit", "adamw_4bit", "adafactor", "muon", "sgd"]

Matrix = tuple[int, int, int, bool]
"""Rows, columns, how many there are, and whether they are inside the model: no embedding, head or vector."""

# By the last name of the class.
_KINDS: Final[Mapping[str, OptimizerKind]] = {
    "AdamW": "adamw",
    "Adam": "adamw",
    "AdamW8bit": "adamw_8bit",
    "AdamW4bit": "adamw_4bit",
    "Adafactor": "adafactor",
    "Muon": "muon",
    "SGD": "sgd",
}
_BLOCKS: Final[Mapping[str, int]] = {"adamw_8bit": 256, "adamw_4bit": 128}
_SMALLEST: Final = 4096
# So many random numbers are drawn at once.
_DRAWN: Final = 1 << 22
# Temporary tensors of the size of a weight while it is changed: where no one kernel does it all.
_TEMPORARY: Final[Mapping[str, float]] = {
    "adamw": 2,
    "adamw_8bit": 2,
    "adamw_4bit": 2,
    "adafactor": 1,
    "muon": 2,
    "sgd": 1,
}


@dataclass(frozen=True)
class OptimizerPlan:
    """An optimizer by its kind; `momentum` is whether SGD has one, `block` how many low-bit numbers share a scale.

    `one_kernel` is whether an update needs no temporary tensors (``fused: true``).
    """

    kind: OptimizerKind = "adamw"
    momentum: bool = True
    block: int = 256
    one_kernel: bool = True

    def state_bytes(self, matrices: Iterable[Matrix], size: int) -> float:
        """The bytes of its state for weights of a type of so many bytes."""
        return sum(
            count * self._of_one(rows, columns, size, inside=inside) for rows, columns, count, inside in matrices
        )

    def step_bytes(self, largest: float, *, rounding: bool) -> float:
        """What it needs beside that while it changes the largest matrix, of so many numbers."""
        if rounding:  # the weight, its gradient and what is remembered of it in float32, and the random numbers
            copies = 2 + self._of_each_number + (0 if self.one_kernel else _TEMPORARY[self.kind])
            return 4 * (largest * copies + min(largest, _DRAWN))
        return 0.0 if self.one_kernel else largest * 4 * _TEMPORARY[self.kind]

    @property
    def _of_each_number(self) -> int:
        """How much it remembers of each number of a large matrix, in so many bits as a weight has."""
        return {"adamw": 2, "muon": 2, "sgd": int(self.momentum)}.get(self.kind, 0)

    def _of_one(self, rows: int, columns: int, size: int, *, inside: bool) -> float:
        numbers = rows * columns
        if self.kind == "adafactor":  # what it remembers is float32 for every type
            return 4.0 * (rows + columns if min(rows, columns) > 1 else numbers)
        if self.kind == "sgd":
            return float(size * numbers) if self.momentum else 0.0
        if self.kind == "muon" and inside and min(rows, columns) > 1:
            return float(size * numbers)
        if self.kind in _BLOCKS and numbers >= _SMALLEST and numbers % self.block == 0:
            bits = 1.0 if self.kind == "adamw_8bit" else 0.5
            return 2 * numbers * (bits + 4 / self.block)
        return 2.0 * size * numbers


def optimizer_plan(target: str, settings: Mapping[str, Any]) -> OptimizerPlan:
    """The optimizer that a config names; ValueError for one whose memory is not known."""
    name = target.rpartition(".")[2]
    if name not in _KINDS:
        raise ValueError(f"nothing is known of the memory of {target}: known are {', '.join(_KINDS)}")
    kind = _KINDS[name]
    block = settings.get("block_size")
    return OptimizerPlan(
        kind,
        momentum=bool(settings.get("momentum")),
        block=block if isinstance(block, int) and block > 0 else _BLOCKS.get(kind, 256),
        one_kernel=bool(settings.get("fused")),
    )
