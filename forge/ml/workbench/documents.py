"""The documents in a batch, each token over its number, coloured by whether it is learned."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate, pairwise, zip_longest
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from forge.ml.data.batch import IGNORED
from forge.ml.data.display import cells, painted, visible
from forge.ml.data.show import special_tokens, token_style, token_texts

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from forge.ml.data.batch import Batch
    from forge.ml.data.display import Style

__all__ = ["Passage", "documents_of", "drawn_documents"]

_FEW_DOCUMENTS: Final = 4
_FEW_LINES: Final = 3


@dataclass(frozen=True, slots=True)
class Passage:
    """Tokens of a batch between two bounds that attention does not cross, from a place in a row on.

    ``learned`` says of each token whether the one before it is to predict it. ``follows`` is what the last one is to predict, where
    the document goes on in another sequence. ``source`` are the number of the dataset in a mixture and of the row in that.
    """

    row: int
    start: int
    ids: list[int]
    learned: list[bool]
    follows: int | None
    source: tuple[int, int]


class _Cell(NamedTuple):
    """A token as it is shown."""

    text: str
    style: Style
    number: str

    @property
    def width(self) -> int:
        return max(cells(self.text), len(self.number))


def documents_of(batch: Batch, pad_id: int) -> list[Passage]:
    """The documents of a batch in their order; padding is left out."""
    rows, width = batch.input_ids.shape
    ids, targets = batch.input_ids.flatten().tolist(), batch.targets.flatten().tolist()
    lengths = [width] * rows if batch.lengths is None else batch.lengths.tolist()
    found = []
    sources = iter(batch.ids)
    for start, end in pairwise(accumulate(lengths, initial=0)):
        used = _used(ids[start:end], targets[start:end], pad_id)
        if used:
            # Where rows hold several documents, padding is a document of its own.
            end = start + used if batch.lengths is None else end  # noqa: PLW2901
            found.append(_document(ids[start:end], targets[start:end], divmod(start, width), next(sources, (0, 0))))
    return found


def _used(ids: Sequence[int], targets: Sequence[int], pad_id: int) -> int:
    """How many tokens there are before the padding: up to the last that is no padding, or is learned."""
    places = range(len(ids), 0, -1)
    return next((n for n in places if ids[n - 1] != pad_id or (n > 1 and targets[n - 2] != IGNORED)), 0)


def _document(ids: list[int], targets: list[int], place: tuple[int, int], source: tuple[int, int]) -> Passage:
    learned = [False, *(target != IGNORED for target in targets[:-1])]
    return Passage(*place, ids, learned, None if targets[-1] == IGNORED else targets[-1], source)


def drawn_documents(
    documents: Sequence[Passage], tokenizer: Any, *, width: int, colour: bool, whole: bool
) -> Iterator[str]:
    """The lines that show documents; without ``whole``, the first ones and their beginnings."""
    shown = documents if whole else documents[:_FEW_DOCUMENTS]
    special = special_tokens(tokenizer)
    for document in shown:
        yield painted([(_heading(document), "head")], colour=colour)
        yield from _tokens(document, tokenizer, special, width=width, colour=colour, whole=whole)
    if len(shown) < len(documents):
        yield painted([(f"… {len(documents) - len(shown):,} more documents, --all shows them", "dim")], colour=colour)


def _heading(document: Passage) -> str:
    source, row = document.source
    of = f" of dataset {source}" if source else ""
    place = f"row {document.row}" + (f" from token {document.start:,} on" if document.start else "")
    learned = sum(document.learned) + (document.follows is not None)
    return f"{place} · {len(document.ids):,} tokens, {learned:,} learned · row {row:,} of the data{of}"


def _tokens(
    document: Passage, tokenizer: Any, special: set[int], *, width: int, colour: bool, whole: bool
) -> Iterator[str]:
    """Lines of tokens, each with a line of their numbers below."""
    most = len(document.ids) if whole else width * _FEW_LINES  # no more fit
    left = len(document.ids)
    found = _cells(document, tokenizer, special, most, marks=not colour)
    for number, line in enumerate(_lines(found, width - 2)):
        if not whole and number == _FEW_LINES:
            yield painted([(f"  … {left:,} more tokens, --all shows them", "dim")], colour=colour)
            return
        above = [(cell.text + " " * (cell.width - cells(cell.text) + 1), cell.style) for cell in line]
        below = " ".join(cell.number.ljust(cell.width) for cell in line)
        yield painted([("  ", "plain"), *above], colour=colour).rstrip()
        yield painted([("  " + below.rstrip(), "dim")], colour=colour)
        left -= len(line)


def _cells(document: Passage, tokenizer: Any, special: set[int], most: int, *, marks: bool) -> Iterator[_Cell]:
    ids, learned = [*document.ids[:most]], [*document.learned[:most]]
    goes_on = document.follows is not None and len(ids) == len(document.ids)
    if goes_on:
        ids, learned = [*ids, document.follows], [*learned, True]
    texts = token_texts(tokenizer, ids)
    before = [False, *learned]
    for place, (text, token, known, after) in enumerate(zip_longest(texts, ids, learned, learned[1:], fillvalue=False)):
        # Of a line break only the sign: the numbers stand below.
        shown = visible(text).replace("\n", "")
        if goes_on and place == len(ids) - 1:
            shown = f"→{shown}"
        if marks and known:
            shown = f"{'' if before[place] else '⟦'}{shown}{'' if after else '⟧'}"
        yield _Cell(shown, token_style(learned=known, special=token in special, odd=place % 2 == 1), str(token))


def _lines(found: Iterator[_Cell], width: int) -> Iterator[list[_Cell]]:
    """Cells in lines of at most so many columns; a longer one has a line of its own."""
    line: list[_Cell] = []
    used = 0
    for cell in found:
        if line and used + cell.width > width:
            yield line
            line, used = [], 0
        line.append(cell)
        used += cell.width + 1
    if line:
        yield line
