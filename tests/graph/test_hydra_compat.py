from __future__ import annotations

from typing import TYPE_CHECKING

from forge.compose.cache import compose
from forge.compose.project import find_project
from forge.graph.hydra_compat import hydra_differences
from forge.graph.lower import lower

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

CONFIG = """\
model: {_target_: builtins.dict, dtype: {_symbol_: torch.bfloat16}}
size: 3
callbacks: {_list_: true, one: {_target_: builtins.dict, model: "${model}"}}
fresh: {_target_: builtins.dict, _new_: true}
trainer: {_target_: builtins.dict, model: "${model}", size: "${size}", fresh: "${fresh}"}
"""


def test_each_difference_is_named_once_with_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORGE_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "configs").mkdir()
    (tmp_path / "project.yaml").write_text("name: demo\n")
    (tmp_path / "configs" / "top.yaml").write_text(CONFIG)
    composed = compose(find_project(str(tmp_path)), "top")
    found = hydra_differences(composed, lower(composed))
    assert sorted((one.code, one.key, one.origin.line if one.origin else 0) for one in found) == [
        ("hydra-list", "callbacks", 3),
        ("hydra-new", "fresh", 4),
        ("hydra-shared", "callbacks.one.model", 3),
        ("hydra-shared", "trainer.model", 5),
        ("hydra-symbol", "model.dtype", 1),
    ]
