from __future__ import annotations

import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
rows = pytest.importorskip("forge.ml.convert.rows")
tokens = pytest.importorskip("forge.ml.convert.tokens")
stored = pytest.importorskip("forge.ml.models.stored")


def test_new_rows_begin_as_they_are_asked_to() -> None:
    table = torch.tensor([[1.0, 2.0], [3.0, 6.0], [100.0, 100.0]])  # the last belongs to no token
    given = stored.Stored("w", "file", (3, 2), torch.float32, lambda: table)
    new = [tokens.NewRow("a", 2, None), tokens.NewRow("b", 3, (0,)), tokens.NewRow("c", 5, ())]
    grown = rows.grown(given, 6, new, known=2)
    assert grown.shape == (6, 2)
    assert grown.read().tolist() == [[1, 2], [3, 6], [2, 4], [1, 2], [2, 4], [0, 0]]
    assert table.tolist()[2] == [100, 100]


def test_a_bias_grows_too_and_a_table_that_is_large_enough_stays() -> None:
    bias = stored.Stored("b", "file", (2,), torch.bfloat16, lambda: torch.tensor([1.0, 3.0]).bfloat16())
    assert rows.grown(bias, 3, [tokens.NewRow("a", 2, None)], known=2).read().tolist() == [1, 3, 2]
    assert rows.grown(bias, 1, [], known=2).shape == (2,)


def test_what_is_read_in_portions_is_the_same() -> None:
    table = torch.randn(7, 3, generator=torch.Generator().manual_seed(1))
    given = stored.Stored("w", "file", (7, 3), torch.float32, lambda: table, lambda at: table[at[0]][:, at[1]])
    new = [tokens.NewRow("a", 2, None), tokens.NewRow("b", 8, (0, 4)), tokens.NewRow("c", 9, ())]
    grown = rows.grown(given, 11, new, known=6)
    whole = grown.read()
    assert torch.equal(torch.cat(list(grown.portions(24))), whole)
    assert torch.allclose(whole[[2, 7, 10]], table[:6].mean(0).expand(3, 3))
    assert torch.equal(whole[8], table[[0, 4]].mean(0))
    assert torch.equal(grown.part([torch.tensor([1, 8]), torch.tensor([2])]), whole[[1, 8]][:, [2]])
