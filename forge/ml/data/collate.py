"""Sequences into the tensors of one batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from forge.ml.data.batch import IGNORED, Batch
from forge.ml.data.split import Gathered

if TYPE_CHECKING:
    from forge.ml.data.feed import Sequence

__all__ = ["batch_of"]


def batch_of(sequences: list[Sequence], *, pad_id: int, flat: bool) -> Batch:
    """A batch of sequences: end to end in one row (flat), or each in a row of its own with padding on the right.

    Rows of packed sequences are padded to the length that sequences may have at most, others to the longest of the batch.
    """
    found, sources = _gathered(sequences)
    targets = np.where(found.learned, found.targets, IGNORED)
    columns = (found.ids, targets, found.positions)
    lengths: np.ndarray | None = found.pieces
    if not flat:
        split = sequences[0][0]
        columns, lengths = _in_rows(found, columns, split.max_length if split.packed else None, pad_id)
    input_ids, targets, positions = (torch.from_numpy(np.atleast_2d(column)) for column in columns)
    return Batch(
        input_ids=input_ids,
        targets=targets,
        position_ids=positions,
        lengths=None if lengths is None else torch.from_numpy(lengths.astype(np.int32)),
        tokens=len(found.ids),
        trained=int(np.count_nonzero(found.learned)),
        ids=tuple(zip(np.repeat(sources, found.counts).tolist(), found.rows.tolist(), strict=True)),
    )


def _gathered(sequences: list[Sequence]) -> tuple[Gathered, list[int]]:
    """The content of sequences in their order, and the source of each; each split is asked once."""
    places: dict[int, list[int]] = {}
    for place, (split, _) in enumerate(sequences):
        places.setdefault(id(split), []).append(place)
    parts = []
    for wanted in places.values():
        split = sequences[wanted[0]][0]
        parts.append(split.gather(np.array([sequences[place][1] for place in wanted])))
    sources = [split.source for split, _ in sequences]
    if len(parts) == 1:
        return parts[0], sources
    order = np.argsort(np.concatenate(list(places.values())), kind="stable")
    return _reordered(parts, order), sources


def _reordered(parts: list[Gathered], order: np.ndarray) -> Gathered:
    """Several gatherings as one, with their sequences in another order."""
    joined = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in ("ids", "targets", "learned", "positions", "pieces", "rows", "counts")
    }
    counts = joined["counts"]
    tokens = _tokens_of(joined["pieces"], counts)
    by_token, by_piece = _spans(tokens, order), _spans(counts, order)
    return Gathered(
        **{name: joined[name][by_token] for name in ("ids", "targets", "learned", "positions")},
        **{name: joined[name][by_piece] for name in ("pieces", "rows")},
        counts=counts[order],
    )


def _tokens_of(pieces: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The number of tokens of each sequence."""
    ends = np.concatenate([[0], np.cumsum(pieces)])[np.cumsum(counts)]
    return np.diff(ends, prepend=0)


def _spans(sizes: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Indices that put spans of these sizes into another order."""
    starts = (np.cumsum(sizes) - sizes)[order]
    sizes = sizes[order]
    return np.arange(int(sizes.sum())) + np.repeat(starts - (np.cumsum(sizes) - sizes), sizes)


def _in_rows(
    found: Gathered, columns: tuple[np.ndarray, ...], width: int | None, pad_id: int
) -> tuple[list[np.ndarray], np.ndarray | None]:
    tokens = _tokens_of(found.pieces, found.counts)
    packed, width = width is not None, width or int(tokens.max())
    rows = len(tokens)
    inside = np.arange(width) < tokens[:, None]
    blank = np.arange(width) - (tokens[:, None] if packed else 0)
    fills = (pad_id, IGNORED, np.broadcast_to(blank, (rows, width)))
    padded = []
    for column, fill in zip(columns, fills, strict=True):
        grid = np.empty((rows, width), dtype=np.int64)
        grid[:] = fill
        grid[inside] = column
        padded.append(grid)
    if not packed:
        return padded, None
    tails = width - tokens
    has_tail = tails > 0
    return padded, np.insert(found.pieces, np.cumsum(found.counts)[has_tail], tails[has_tail])
