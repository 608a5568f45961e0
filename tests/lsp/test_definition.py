from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from forge.lsp.definition import Location, definition_at

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Spot

    from forge.lsp.desk import Desk


@pytest.mark.parametrize(
    ("mark", "file", "line", "column"),
    [
        ("ti‸ny", "configs/tiny.yaml", 0, 0),
        ("lar‸ge", "configs/size/large.yaml", 0, 0),
        ("demo_code.Run‸ner", "src/demo_code.py", 5, 0),
        ("${size.d‸im}", "configs/size/large.yaml", 2, 0),
        ("max_st‸eps", "configs/tiny.yaml", 14, 2),
    ],
)
def test_it_leads_to(
    mark: str, file: str, line: int, column: int, desk: Desk, demo: Path, spot: Callable[[str], Spot]
) -> None:
    path = demo / "configs" / "run.yaml"
    where = spot(path.read_text().replace(mark.replace("‸", ""), mark))
    assert definition_at(desk, str(path), *where) == Location(str(demo / file), line, column)


@pytest.mark.parametrize(
    "text",
    [
        "defaults: [nos‸uch]",
        "a: ${nos‸uch}",
        "a: {_target_: demo_code.Nos‸uch}",
        "a: {_target_: nosuch_package.X‸}",
        "own‸: 1",
        "# no‸thing",
    ],
)
def test_it_leads_nowhere(text: str, desk: Desk, demo: Path, spot: Callable[[str], Spot]) -> None:
    path = str(demo / "configs" / "run.yaml")
    where = spot(text)
    desk.show(path, where.text)
    assert definition_at(desk, path, *where) is None


def test_a_file_of_no_project_leads_nowhere(desk: Desk, tmp_path: Path) -> None:
    assert definition_at(desk, str(tmp_path / "x.yaml"), "a: ${b}", 0, 5) is None
