from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
np = pytest.importorskip("numpy")
collate = pytest.importorskip("forge.ml.data.collate")
corpus_module = pytest.importorskip("forge.ml.data.corpus")
prepare_module = pytest.importorskip("forge.ml.data.prepare")

PAD = 0
DOCUMENTS = ["abcde", "fg", "hij"]


@pytest.fixture
def prepared(byte_tokenizer: Callable[..., Any]) -> Callable[..., Any]:
    def prepare(documents: list[str] = DOCUMENTS, **shape: Any) -> Any:
        corpus = corpus_module.TextCorpus(documents, **{"max_length": 8, "packing": "none", **shape})
        return prepare_module.prepare(corpus, byte_tokenizer()).train

    return prepare


def _sequences(split: Any) -> list[Any]:
    return [(split, number) for number in range(len(split))]


def _shifted(batch: Any, byte_tokenizer: Callable[..., Any]) -> None:
    """Within a document each target is the next token; at its end there is none."""
    ids, targets = batch.input_ids.flatten().tolist(), batch.targets.flatten().tolist()
    end = byte_tokenizer().eos_token_id
    for at, target in enumerate(targets):
        if ids[at] in (PAD, end):
            assert target == -100
        else:
            assert target == ids[at + 1]


def test_documents_become_rows_with_padding_on_the_right(
    prepared: Callable[..., Any], byte_tokenizer: Callable[..., Any]
) -> None:
    batch = collate.batch_of(_sequences(prepared()), pad_id=PAD, flat=False)
    assert batch.input_ids.shape == batch.targets.shape == batch.position_ids.shape == (3, 6)
    assert (batch.input_ids == PAD).sum(1).tolist() == [0, 3, 2]
    assert batch.position_ids.tolist() == [[0, 1, 2, 3, 4, 5]] * 3
    assert batch.lengths is None
    assert (batch.tokens, batch.trained) == (13, 10)
    assert batch.ids == ((0, 0), (0, 1), (0, 2))
    _shifted(batch, byte_tokenizer)


def test_documents_end_to_end_have_no_padding(prepared: Callable[..., Any], byte_tokenizer: Callable[..., Any]) -> None:
    batch = collate.batch_of(_sequences(prepared()), pad_id=PAD, flat=True)
    assert batch.input_ids.shape == (1, 13)
    assert batch.lengths.tolist() == [6, 3, 4]
    assert batch.position_ids.tolist() == [[0, 1, 2, 3, 4, 5, 0, 1, 2, 0, 1, 2, 3]]
    assert (batch.tokens, batch.trained) == (13, 10)
    _shifted(batch, byte_tokenizer)


def test_packed_rows_are_as_long_as_sequences_may_be_and_a_tail_is_a_document(prepared: Callable[..., Any]) -> None:
    split = prepared(packing="best_fit", overflow="drop")
    batch = collate.batch_of(_sequences(split), pad_id=PAD, flat=False)
    assert batch.input_ids.shape == (2, 8)
    assert batch.lengths.tolist() == [6, 2, 4, 3, 1]
    assert int(batch.lengths.sum()) == batch.input_ids.numel()
    assert batch.position_ids.flatten().tolist() == [n for size in batch.lengths.tolist() for n in range(size)]
    assert batch.ids == ((0, 0), (0, 2), (0, 1))


def test_a_full_row_has_no_tail(prepared: Callable[..., Any]) -> None:
    split = prepared(["abcdefg"], packing="greedy")
    batch = collate.batch_of(_sequences(split), pad_id=PAD, flat=False)
    assert batch.lengths.tolist() == [8]


def test_a_document_that_goes_on_elsewhere_teaches_its_next_token(prepared: Callable[..., Any]) -> None:
    split = prepared(["abcdefghijkl"], max_length=5, packing="greedy")
    batch = collate.batch_of(_sequences(split), pad_id=PAD, flat=True)
    ids = batch.input_ids[0].tolist()
    assert batch.targets[0].tolist() == [*ids[1:], -100]
    assert batch.lengths.tolist() == [5, 5, 3]


@pytest.mark.parametrize("flat", [True, False])
def test_both_forms_hold_the_same(prepared: Callable[..., Any], flat: Any) -> None:
    split = prepared([chr(97 + n) * (1 + n % 9) for n in range(20)], packing="best_fit", overflow="split")
    batch = collate.batch_of(_sequences(split), pad_id=PAD, flat=flat)
    keep = batch.input_ids.flatten() != PAD
    other = collate.batch_of(_sequences(split), pad_id=PAD, flat=True)
    for name in ("input_ids", "targets", "position_ids"):
        assert torch.equal(getattr(batch, name).flatten()[keep], getattr(other, name).flatten())
    assert (batch.tokens, batch.trained, batch.ids) == (other.tokens, other.trained, other.ids)


def test_sequences_of_several_datasets_keep_their_order(byte_tokenizer: Callable[..., Any]) -> None:
    datasets = {
        name: corpus_module.TextCorpus(
            [name * size for size in range(1, 6)], max_length=8, packing="best_fit", overflow="drop"
        )
        for name in "ab"
    }
    mixed = prepare_module.prepare(corpus_module.Mixture(datasets), byte_tokenizer()).train
    one, two = mixed.parts.values()
    order = [(one, 0), (two, 1), (one, 1), (two, 0)]
    batch = collate.batch_of(order, pad_id=PAD, flat=True)
    alone = [collate.batch_of([each], pad_id=PAD, flat=True) for each in order]
    for name in ("input_ids", "targets", "position_ids"):
        assert torch.equal(getattr(batch, name), torch.cat([getattr(each, name) for each in alone], 1))
    assert batch.lengths.tolist() == [size for each in alone for size in each.lengths.tolist()]
    assert batch.ids == tuple(pair for each in alone for pair in each.ids)
    assert {source for source, _ in batch.ids} == {0, 1}


def test_the_kinds_are_those_that_models_take(prepared: Callable[..., Any]) -> None:
    batch = collate.batch_of(_sequences(prepared()), pad_id=PAD, flat=True)
    assert {batch.input_ids.dtype, batch.targets.dtype, batch.position_ids.dtype} == {torch.int64}
    assert batch.lengths.dtype == torch.int32
