from __future__ import annotations

import pytest

pytestmark = pytest.mark.torch


def test_a_batch_moves_whole() -> None:
    import torch

    from forge.ml.data.batch import Batch

    one = torch.ones(1, 4, dtype=torch.int64)
    batch = Batch(one, one, one, torch.tensor([1, 3], dtype=torch.int32), 4, 4, ((0, 1),))
    moved = batch.to("meta")
    assert {moved.input_ids.device.type, moved.targets.device.type, moved.position_ids.device.type} == {"meta"}
    assert moved.lengths is not None
    assert moved.lengths.device.type == "meta"
    assert (moved.tokens, moved.trained, moved.ids) == (4, 4, ((0, 1),))
    assert Batch(one, one, one, None, 4, 4).to("meta").lengths is None
