from __future__ import annotations

import pytest

from forge.plan.amounts import parse_amount, parse_size, shown_count


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("24GB", 24e9),
        ("24 gb", 24e9),
        ("80GiB", 80 * 2**30),
        ("1.5T", 1.5e12),
        ("512", 512),
        ("1,000B", 1000),
        (".5G", 5e8),
    ],
)
def test_sizes(text: str, size: float) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GB", "24XB", "-1GB", "0GB", "24 GB of it"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="size"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("300M", 300_000_000),
        ("1.5B", 1_500_000_000),
        ("4_096", 4096),
        ("2k", 2000),
        ("1e9", 10**9),
        ("1.5E+6", 1_500_000),
    ],
)
def test_amounts(text: str, count: int) -> None:
    assert parse_amount(text) == count


@pytest.mark.parametrize("text", ["", "many", "0", "3Q", "1e", "1e400", "1e-3"])
def test_what_is_no_amount(text: str) -> None:
    with pytest.raises(ValueError, match="amount"):
        parse_amount(text)


def test_counts_are_shown_in_their_largest_unit() -> None:
    assert [shown_count(number) for number in (12, 4096, 6_738_415_616, 999_999)] == ["12", "4.1k", "6.7B", "1.0M"]
