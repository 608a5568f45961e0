"""Rows in pieces; tests/layouts shows that attention over them gives the same numbers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

from forge.base.errors import RunError  # noqa: E402 - torch may be missing
from forge.ml.data.batch import IGNORED, Batch  # noqa: E402 - as above
from forge.ml.parallel import context  # noqa: E402 - as above
from forge.ml.parallel.world import World  # noqa: E402 - as above
from forge.plan.layout import Layout  # noqa: E402 - as above


def piece(batch: Batch, place: int, size: int, kind: str = "meta") -> Batch:
    return context.sequence_piece(batch, World(torch.device(kind), Layout(cp=size), place, size))


def batch(rows: int, lengths: list[int] | None) -> Batch:
    tokens = torch.arange(rows * 6).reshape(rows, 6)
    targets = tokens + 1
    targets[:, -1] = IGNORED
    positions = torch.arange(6).expand(rows, 6)
    documents = None if lengths is None else torch.tensor(lengths, dtype=torch.int32)
    return Batch(tokens, targets, positions, documents, tokens=rows * 6, trained=rows * 5)


def test_without_pieces_nothing_changes() -> None:
    one = batch(1, [6])
    assert piece(one, 0, 1) is one


@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize("size", [2, 3, 4])
def test_the_pieces_are_the_whole(rows: int, size: int) -> None:
    whole = batch(rows, [4, 2] * rows)
    found = [piece(whole, place, size) for place in range(size)]
    together = torch.cat([one.input_ids for one in found], 1)
    assert torch.equal(together[:, :6], whole.input_ids)
    assert together.shape[1] % size == 0
    assert torch.equal(torch.cat([one.targets for one in found], 1)[:, :6], whole.targets)
    assert sum(one.trained for one in found) == whole.trained
    assert sum(one.tokens for one in found) == whole.tokens
    for one in found:
        assert int(one.lengths.sum()) == together.numel()
        assert one.position_ids.max() <= 5
        assert (one.targets != IGNORED).sum() == one.trained


def test_rows_without_documents_are_one_document_each() -> None:
    assert piece(batch(2, None), 1, 2).lengths.tolist() == [6, 6]
    assert piece(batch(2, None), 1, 4).lengths.tolist() == [8, 8]


def test_a_processor_gets_few_lengths() -> None:
    found = piece(batch(1, [6]), 0, 2, "cpu")
    assert found.input_ids.shape == (1, 128)
    assert found.lengths.tolist() == [6, 250]


def test_what_is_exchanged_has_the_type_that_attention_computes_in() -> None:
    query, value = torch.ones(1), torch.ones(1, dtype=torch.bfloat16)
    assert context._as_computed(query, value) == (query, value)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert {each.dtype for each in context._as_computed(query, query, value)} == {torch.bfloat16}


def test_keys_are_there_as_often_as_they_are_needed() -> None:
    keys = torch.arange(2.0).reshape(1, 2, 1, 1)
    assert context._enough_heads(keys, 2).flatten().tolist() == [0, 1]
    assert context._enough_heads(keys, 4).flatten().tolist() == [0, 0, 1, 1]
    assert context._enough_heads(keys, 3).flatten().tolist() == [0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize(
    ("attention", "heads", "message"),
    [("sdpa", 4, "cannot attend over"), ("forge_documents", 3, "3 attention heads cannot be divided among cp=2")],
)
def test_what_cannot_be_exchanged_is_refused(attention: str, heads: int, message: str) -> None:
    text = SimpleNamespace(num_attention_heads=heads)
    model: Any = SimpleNamespace(config=SimpleNamespace(_attn_implementation=attention, get_text_config=lambda: text))
    with pytest.raises(RunError, match=message):
        context.exchange_heads(model, World(torch.device("cpu"), Layout(cp=2), 0, 2))
