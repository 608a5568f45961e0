"""The documents in a batch, and how they are drawn."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

from forge.ml.data.batch import IGNORED, Batch  # noqa: E402 - torch may be missing
from forge.ml.workbench.documents import Passage, documents_of, drawn_documents  # noqa: E402 - as above

NO = IGNORED


class Letters:
    """A tokenizer whose tokens are letters, and whose special token is 0."""

    class backend_tokenizer:  # noqa: N801 - as the library calls it
        @staticmethod
        def get_added_tokens_decoder() -> dict[int, Any]:
            return {0: type("Token", (), {"special": True})}

        @staticmethod
        def decode(ids: list[int], **_: Any) -> str:
            return "".join("<end>" if number == 0 else chr(96 + number) for number in ids)


def batch(ids: list[list[int]], targets: list[list[int]], lengths: list[int] | None, *sources: int) -> Batch:
    rows, wanted = torch.tensor(ids), torch.tensor(targets)
    trained = int((wanted != NO).sum())
    bounds = None if lengths is None else torch.tensor(lengths)
    return Batch(rows, wanted, rows, bounds, rows.numel(), trained, tuple((0, source) for source in sources))


def test_documents_end_to_end_in_one_row() -> None:
    found = documents_of(batch([[1, 2, 3, 4, 5]], [[2, 3, NO, 5, 6]], [3, 2], 17, 4), 0)
    assert found == [
        Passage(0, 0, [1, 2, 3], [False, True, True], None, (0, 17)),
        Passage(0, 3, [4, 5], [False, True], 6, (0, 4)),
    ]


def test_padding_is_no_document() -> None:
    packed = batch([[1, 2, 0], [3, 0, 0]], [[2, NO, NO], [0, NO, NO]], [2, 1, 2, 1], 7, 8)
    assert [(one.row, one.ids, one.source[1]) for one in documents_of(packed, 0)] == [(0, [1, 2], 7), (1, [3, 0], 8)]
    rows = batch([[1, 2, 3], [3, 0, 0]], [[2, 3, NO], [0, NO, NO]], None, 7, 8)
    assert [one.ids for one in documents_of(rows, 0)] == [[1, 2, 3], [3, 0]]  # what is learned is no padding


def draw(document: Passage, width: int = 40, *, colour: bool = False, whole: bool = False) -> list[str]:
    return list(drawn_documents([document], Letters(), width=width, colour=colour, whole=whole))


def test_each_token_stands_over_its_number() -> None:
    assert draw(Passage(0, 0, [1, 26, 0], [False, True, True], None, (0, 17))) == [
        "row 0 · 3 tokens, 2 learned · row 17 of the data",
        "  a ⟦z <end>⟧",
        "  1 26 0",
    ]


def test_a_token_that_is_learned_behind_the_end_is_shown_with_an_arrow() -> None:
    shown = draw(Passage(1, 2048, [1, 2], [False, False], 3, (2, 5)))
    assert shown[0] == "row 1 from token 2,048 on · 2 tokens, 1 learned · row 5 of the data of dataset 2"
    assert shown[1:] == ["  a b ⟦→c⟧", "  1 2 3"]


def test_colours_say_what_is_learned() -> None:
    line = draw(Passage(0, 0, [1, 2, 0], [False, True, True], None, (0, 0)), colour=True)[1]
    assert "\x1b[2ma " in line
    assert "\x1b[92mb " in line
    assert "\x1b[1;32m<end>" in line


def test_what_is_long_is_shortened_unless_all_is_wanted() -> None:
    long = Passage(0, 0, [1] * 100, [True] * 100, None, (0, 0))
    short = draw(long, 42)
    assert len(short) == 1 + 3 * 2 + 1
    assert short[-1].strip() == "… 40 more tokens, --all shows them"
    assert sum(line.count("1") for line in draw(long, 42, whole=True)[2::2]) == 100
    many = list(drawn_documents([long] * 9, Letters(), width=42, colour=False, whole=False))
    assert many[-1] == "… 5 more documents, --all shows them"
