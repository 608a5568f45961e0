from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from forge.compose.composer import compose_fresh
from forge.compose.project import find_project
from forge.graph.replaced import replaced_objects

if TYPE_CHECKING:
    from pathlib import Path

BASE = "optimizer: {_target_: torch.optim.AdamW, lr: 1.0}\nplain: {a: 1}\nseed: 3\n"


def found(folder: Path, text: str, *overrides: str) -> list[str]:
    (folder / "configs").mkdir()
    (folder / "project.yaml").write_text("name: demo\n")
    (folder / "configs" / "base.yaml").write_text(BASE)
    (folder / "configs" / "top.yaml").write_text(f"defaults: [base, _self_]\n{text}")
    composed = compose_fresh(find_project(str(folder)), "top", overrides)
    return [str(finding) for finding in replaced_objects(composed)]


def test_a_forgotten_colon_is_suspected(tmp_path: Path) -> None:
    (line,) = found(tmp_path, "optimizer:\n  lr 2.0e-3\n")
    assert "top.yaml:2: optimizer: the value 'lr 2.0e-3' replaces the object that" in line
    assert "base.yaml:1 describes, is a colon missing?" in line


@pytest.mark.parametrize(
    ("text", "overrides"),
    [
        ("optimizer: {lr: 2.0}\n", ()),
        ("optimizer: null\n", ()),
        ("plain: text\n", ()),
        ("other: {_target_: torch.optim.SGD}\noptimizer: ${other}\n", ()),
        ("seed: 4\n", ()),
        ("", ("seed=5",)),
    ],
)
def test_what_people_mean_is_left_alone(tmp_path: Path, text: str, overrides: tuple[str, ...]) -> None:
    assert found(tmp_path, text, *overrides) == []
