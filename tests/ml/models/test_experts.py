"""A piece of a weight that files have expert by expert is what it is of the whole one, and nothing more is read for it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

from transformers.core_model_loading import Concatenate, MergeModulelist, Transpose, WeightConverter  # noqa: E402 - torch may be missing

from forge.ml.models.experts import reader_of_experts  # noqa: E402 - as above

if TYPE_CHECKING:
    from collections.abc import Sequence

GATE, UP = "experts.*.gate.weight", "experts.*.up.weight"
ROWS, COLUMNS, EXPERTS = 6, 5, 4


class File:
    """Tensors of which parts are read; how many numbers were."""

    def __init__(self) -> None:
        self.whole = {pattern: [torch.randn(ROWS, COLUMNS) for _ in range(EXPERTS)] for pattern in (GATE, UP)}
        self.read = 0

    def members(self, *patterns: str) -> dict[str, list[Any]]:
        return {pattern: [self._stored(tensor) for tensor in self.whole[pattern]] for pattern in patterns}

    def _stored(self, tensor: torch.Tensor) -> Any:
        def part(places: Sequence[torch.Tensor]) -> torch.Tensor:
            found = tensor[places[0]][:, places[1]]
            self.read += found.numel()
            return found

        return SimpleNamespace(shape=tuple(tensor.shape), part=part)


def converter(*operations: Any, sources: Sequence[str] = (GATE, UP)) -> WeightConverter:
    return WeightConverter(list(sources), "experts.gate_up", operations=list(operations))


@pytest.mark.parametrize(
    ("experts", "rows", "columns"),
    [
        (range(EXPERTS), range(2 * ROWS), range(COLUMNS)),
        (range(2, 4), range(2 * ROWS), range(COLUMNS)),
        (range(EXPERTS), [0, 1, 2, 6, 7, 8], range(COLUMNS)),  # the first half of each
        ([3], range(3), [1, 2]),
        ([], range(2 * ROWS), range(COLUMNS)),
    ],
)
def test_a_piece_is_that_of_the_whole(experts: Sequence[int], rows: Sequence[int], columns: Sequence[int]) -> None:
    file = File()
    whole = torch.stack([torch.cat(pair) for pair in zip(file.whole[GATE], file.whole[UP], strict=True)])
    places = [torch.tensor(list(each), dtype=torch.int64) for each in (experts, rows, columns)]
    read = reader_of_experts(converter(MergeModulelist(dim=0), Concatenate(dim=1)), file.members(GATE, UP))
    assert read is not None
    assert torch.equal(read(places), whole[places[0]][:, places[1]][:, :, places[2]])
    assert file.read == len(experts) * len(rows) * len(columns)


def test_experts_that_are_only_stacked() -> None:
    file = File()
    read = reader_of_experts(converter(MergeModulelist(dim=0), sources=(GATE,)), file.members(GATE))
    assert read is not None
    places = [torch.arange(size) for size in (EXPERTS, ROWS, COLUMNS)]
    assert torch.equal(read(places), torch.stack(file.whole[GATE]))


def test_what_is_done_besides_is_not_done_in_pieces() -> None:
    members = File().members(GATE, UP)
    assert reader_of_experts(converter(MergeModulelist(dim=0), Concatenate(dim=1), Transpose(1, 2)), members) is None
    assert reader_of_experts(converter(MergeModulelist(dim=1), Concatenate(dim=1)), members) is None
    members[UP].pop()
    assert reader_of_experts(converter(MergeModulelist(dim=0), Concatenate(dim=1)), members) is None
    whole = {GATE: [SimpleNamespace(shape=(ROWS, COLUMNS), part=None)]}
    assert reader_of_experts(converter(MergeModulelist(dim=0), sources=(GATE,)), whole) is None
