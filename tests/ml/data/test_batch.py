from __future__ import annotations

import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

from forge.ml.data.batch import IGNORED, Batch  # noqa: E402 - torch may be missing


def test_a_batch_moves_whole() -> None:
    one = torch.ones(1, 4, dtype=torch.int64)
    batch = Batch(one, one, one, torch.tensor([1, 3], dtype=torch.int32), 4, 4, ((0, 1),))
    moved = batch.to("meta")
    assert {moved.input_ids.device.type, moved.targets.device.type, moved.position_ids.device.type} == {"meta"}
    assert moved.lengths is not None
    assert moved.lengths.device.type == "meta"
    assert (moved.tokens, moved.trained, moved.ids) == (4, 4, ((0, 1),))
    assert Batch(one, one, one, None, 4, 4).to("meta").lengths is None


@pytest.mark.parametrize("lengths", [None, [3, 2, 5]])
def test_rows_are_padded_by_a_document_of_which_nothing_is_learned(lengths: list[int] | None) -> None:
    rows = torch.arange(10).reshape(2, 5)
    known = None if lengths is None else torch.tensor(lengths, dtype=torch.int32)
    batch = Batch(rows, rows + 1, torch.arange(5).expand(2, 5), known, 10, 10)
    assert batch.padded_to_multiple(5) is batch
    wide = batch.padded_to_multiple(4)
    assert wide.input_ids.shape == wide.position_ids.shape == (2, 8)
    assert wide.input_ids[:, :5].equal(rows)
    assert (wide.targets[:, 5:] == IGNORED).all()
    assert wide.position_ids.max() == 4, "a model may know no more positions"
    assert (wide.tokens, wide.trained) == (10, 10)
    assert (None if wide.lengths is None else wide.lengths.tolist()) == (lengths and [3, 2, 3, 5, 3])
