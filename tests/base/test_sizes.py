from __future__ import annotations

import pytest

from forge.base.sizes import shown_size


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (999_999, "1.0 MB"),
        (4_321_000, "4.3 MB"),
        (1_500_000_000, "1.5 GB"),
        (2e12, "2.0 TB"),
        (3e15, "3000.0 TB"),
    ],
)
def test_a_unit_that_fits(size: float, shown: str) -> None:
    assert shown_size(size) == shown
