"""Rows and what the model gets of them: tokens by what is learned, where they stand, and why some do not arrive."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from forge.base.errors import UsageError
from forge.ml.data.display import beside, painted, visible, with_marks, wrapped
from forge.ml.data.pool import Pool
from forge.ml.data.prepare import job_for
from forge.ml.data.report import Report
from forge.ml.data.source import place_of, rows_from

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from forge.ml.data.display import Style, StyledLine, StyledText
    from forge.ml.data.sets import RowSet

__all__ = [
    "Piece",
    "Shown",
    "drawn_example",
    "example_json",
    "examples",
    "legend",
    "special_tokens",
    "token_style",
    "token_texts",
]

_WIDE: Final = 110  # from here on the row stands beside its tokens
_MANY_LINES: Final = 40


@dataclass(frozen=True, slots=True)
class Piece:
    """Tokens of a row that stand together in one sequence, and which of them are learned."""

    sequence: int
    offset: int
    ids: list[int]
    learned: list[bool]


@dataclass(frozen=True, slots=True)
class Shown:
    """A row, the pieces that the model gets of it, and what became of the rest."""

    set_name: str
    number: int
    place: str
    row: Any
    pieces: list[Piece]
    tokens: int
    loss: str
    sequences: int
    max_length: int


def examples(found: RowSet, tokenizer: Any, first: int, count: int) -> Iterator[Shown]:
    """So many rows of a set from one on, as the model gets them."""
    if first < 0:
        raise UsageError(f"--index cannot be {first}", hint="the first row is row 0")
    rows = list(islice(rows_from(found.rows, first), count))
    if not rows:
        raise UsageError(f"{found.name} has {found.split.report.rows:,} rows, and none is row {first}")
    for number, row in enumerate(rows, start=first):
        yield _shown(found, tokenizer, number, row)


def _shown(found: RowSet, tokenizer: Any, number: int, row: Any) -> Shown:
    split = found.split
    example = int(np.searchsorted(split.tokens.rows, number))
    pieces: list[Piece] = []
    if example < len(split.tokens) and split.tokens.rows[example] == number:
        ids, learned = split.tokens.example(example)
        learned[:1] = False  # nothing comes before the first token, so nothing can learn to say it
        pieces = _pieces(split.plan, example, ids, learned)
        tokens, loss = len(ids), _shortening(pieces, ids, learned, split)
    else:
        tokens, loss = 0, _reason(found, tokenizer, row)
    return Shown(
        set_name=found.name,
        number=number,
        place=place_of(found.rows, number),
        row=row,
        pieces=pieces,
        tokens=tokens,
        loss=loss,
        sequences=len(split),
        max_length=split.max_length,
    )


def _pieces(plan: Any, example: int, ids: np.ndarray, learned: np.ndarray) -> list[Piece]:
    found = []
    for place in np.flatnonzero(plan.example == example).tolist():
        start, length = int(plan.start[place]), int(plan.length[place])
        sequence = int(np.searchsorted(plan.sequences, place, side="right")) - 1
        offset = int(plan.length[plan.sequences[sequence] : place].sum())
        part = slice(start, start + length)
        found.append(Piece(sequence, offset, ids[part].tolist(), learned[part].tolist()))
    return found


def _shortening(pieces: list[Piece], ids: np.ndarray, learned: np.ndarray, split: Any) -> str:
    """What of an encoded row does not arrive, and why."""
    kept = sum(len(piece.ids) for piece in pieces)
    if kept == len(ids):
        return ""
    if kept:
        lost = int(learned[kept:].sum())
        return f"cut to {split.max_length:,} tokens: {len(ids) - kept:,} left out, {lost:,} of them to be learned"
    if split.overflow == "drop" and len(ids) > split.max_length:
        return f"not used: {len(ids):,} tokens, more than {split.max_length:,}"
    return f"not used: nothing is learned in its first {split.max_length:,} of {len(ids):,} tokens"


def _reason(found: RowSet, tokenizer: Any, row: Any) -> str:
    """Why a row was not encoded: asked again, because only the first rows of each reason are kept."""
    report = Report()
    with Pool(job_for(found.corpus, tokenizer), workers=1) as pool:
        list(pool.examples([row], report))
    reasons = [
        f"{reason}: {loss.first[0][1]}" if loss.first[0][1] else reason for reason, loss in report.dropped.items()
    ]
    return "not used: " + "; ".join(reasons)


def example_json(shown: Shown, tokenizer: Any) -> dict[str, Any]:
    """The same for programs."""
    pieces = [
        {"sequence": piece.sequence, "offset": piece.offset, "ids": piece.ids, "learned": list(map(int, piece.learned))}
        | {"text": tokenizer.backend_tokenizer.decode(piece.ids, skip_special_tokens=False)}
        for piece in shown.pieces
    ]
    about = {"set": shown.set_name, "row": shown.number, "place": shown.place, "tokens": shown.tokens}
    return {**about, "loss": shown.loss, "pieces": pieces, "content": shown.row}


def token_texts(tokenizer: Any, ids: Sequence[int]) -> list[str]:
    """What each token adds to the text; one that ends in the middle of a character adds nothing, and the next one all of it."""
    decode = tokenizer.backend_tokenizer.decode
    found: list[str] = []
    start = 0  # a few tokens before are enough to know whether a space stands in between
    for number in range(len(ids)):
        before = decode(ids[start:number], skip_special_tokens=False) if number else ""
        before = before.rstrip("�")
        after = decode(ids[start : number + 1], skip_special_tokens=False)
        whole = not after.endswith("�") or number == len(ids) - 1
        found.append(after[len(before) :] if whole else "")
        if whole and number - start > 8:  # noqa: PLR2004 - as above
            start = number - 3
    return found


def legend(*, colour: bool) -> str:
    """What the colours and marks mean."""
    line: StyledLine = [("learned", "learned"), (" ", "plain"), ("context", "context")]
    line += [(" special token", "special")] if colour else []
    line += [("  ↵ is a line break", "dim")]
    return painted(line if colour else list(with_marks(line)), colour=colour)


def drawn_example(shown: Shown, tokenizer: Any, *, width: int, colour: bool, whole: bool = False) -> str:
    """A row and its tokens for the terminal: one beside the other where there is room, else one below the other."""
    row = (
        json.dumps(shown.row, indent=1, ensure_ascii=False, default=str)
        if not isinstance(shown.row, str)
        else shown.row
    )
    runs = _token_runs(shown, tokenizer)
    runs = runs if colour else with_marks(runs)
    if width >= _WIDE:
        left = width * 2 // 5
        columns = [
            wrapped([(visible(row).replace("↵\n", "\n"), "plain")], left),
            wrapped(runs, width - left - 3),
        ]
        lines = beside(*(_shortened(column, whole=whole) for column in columns), left)
    else:
        above = wrapped([(visible(row).replace("↵\n", "\n"), "plain")], width - 2)
        below = wrapped(runs, width - 2)
        lines = [[("  ", "plain"), *line] for line in _shortened(above, whole=whole)]
        lines += [[("  " + "─" * (width - 2), "dim")]]
        lines += [[("  ", "plain"), *line] for line in _shortened(below, whole=whole)]
    return "\n".join(painted(line, colour=colour).rstrip() for line in [*_heading(shown, width), *lines])


def _heading(shown: Shown, width: int) -> list[StyledLine]:
    learned = sum(sum(piece.learned) for piece in shown.pieces)
    about = [f"{shown.set_name}, row {shown.number:,}"]
    if shown.place:
        about.append(shown.place)
    if shown.pieces:
        about.append(f"{shown.tokens:,} tokens, {learned:,} learned")
        about.append(_where(shown))
    lines: list[StyledLine] = wrapped([(" · ".join(about), "head")], width)
    if shown.loss:
        lines += wrapped([(visible(shown.loss), "lost")], width)
    return lines


def _where(shown: Shown) -> str:
    first, last = shown.pieces[0].sequence, shown.pieces[-1].sequence
    if len(shown.pieces) > 1:
        return f"in {len(shown.pieces):,} sequences, {first:,} to {last:,} of {shown.sequences:,}"
    offset = shown.pieces[0].offset
    return f"sequence {first:,} of {shown.sequences:,}" + (f" from token {offset:,} on" if offset else "")


def _token_runs(shown: Shown, tokenizer: Any) -> Iterator[StyledText]:
    special = special_tokens(tokenizer)
    for number, piece in enumerate(shown.pieces):
        if number:
            yield f"\n── sequence {piece.sequence:,} ──\n", "dim"
        texts = token_texts(tokenizer, piece.ids)
        for position, (text, token, learned) in enumerate(zip(texts, piece.ids, piece.learned, strict=True)):
            yield visible(text), token_style(learned=learned, special=token in special, odd=position % 2 == 1)
    if not shown.pieces:
        yield "(nothing)", "dim"


def special_tokens(tokenizer: Any) -> set[int]:
    """The tokens that stand for no text."""
    added = tokenizer.backend_tokenizer.get_added_tokens_decoder()
    return {number for number, token in added.items() if token.special}


def token_style(*, learned: bool, special: bool, odd: bool) -> Style:
    """How a token is shown: by whether it is learned; tokens take turns in two shades, so that their borders show."""
    if special:
        return "special_learned" if learned else "special"
    if learned:
        return "learned_odd" if odd else "learned"
    return "context_odd" if odd else "context"


def _shortened(lines: list[StyledLine], *, whole: bool) -> list[StyledLine]:
    while lines and not lines[-1]:  # behind the last line break
        lines = lines[:-1]
    if whole or len(lines) <= _MANY_LINES:
        return lines
    return [*lines[: _MANY_LINES - 1], [(f"… {len(lines) - _MANY_LINES + 1:,} more lines, --all shows them", "dim")]]
