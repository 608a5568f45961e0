from __future__ import annotations

from forge.cli.columns import in_columns


def test_columns_are_as_wide_as_a_terminal_shows_them() -> None:
    rows = [("run", "state"), ("調整", "é"), ("e\u0301", ""), ("long-er", "x")]
    assert in_columns(rows) == "run      state\n調整     é\ne\u0301\nlong-er  x"
