from __future__ import annotations

import ast
import sys
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.torch
decoder = pytest.importorskip("forge.ml.models.decoder")
standalone = pytest.importorskip("forge.ml.models.decoder.standalone")

OWN = """\
\"\"\"A part of a project's own.\"\"\"

from dataclasses import dataclass

import torch
{more}
from forge.ml.models.decoder import RMSNorm

__all__ = ["Shifted"]


# Twice is better.
@dataclass(frozen=True)
class Shifted(RMSNorm):
    shift: float = 1.0

    def module(self, size):
        return torch.nn.RMSNorm(size, eps=self.eps)
"""


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """A function that writes a project's module and imports it."""

    def imported(more: str = "") -> Any:
        (tmp_path / "own_parts_for_a_test.py").write_text(OWN.format(more=more))
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.delitem(sys.modules, "own_parts_for_a_test", raising=False)
        return __import__("own_parts_for_a_test")

    return imported


def _imported(source: str) -> set[str]:
    nodes = list(ast.walk(ast.parse(source)))
    modules = {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
    modules |= {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return {str(module).split(".")[0] for module in modules}


def test_the_code_needs_torch_and_transformers_alone(config_of: Callable[..., Any]) -> None:
    files = standalone.code_files(config_of())
    assert list(files) == ["modeling_forge_decoder.py"]
    source = files["modeling_forge_decoder.py"]
    assert _imported(source) - sys.stdlib_module_names == {"torch", "transformers"}
    assert "forge.ml" not in source
    assert "TYPE_CHECKING" not in source


def test_the_code_has_each_class_once_and_none_of_what_saves(config_of: Callable[..., Any]) -> None:
    tree = ast.parse(standalone.standalone_source(config_of()))
    names = [node.name for node in tree.body if isinstance(node, (ast.ClassDef, ast.FunctionDef))]
    assert len(names) == len(set(names))
    assert {"Part", "DecoderConfig", "DecoderForCausalLM", "SelfAttention", "PostNormLayer"} <= set(names)
    assert not {"AssembledForCausalLM", "as_family", "standalone_source"} & set(names)


def test_the_comments_of_the_code_stay(config_of: Callable[..., Any]) -> None:
    assert "# GPT-2's rule:" in standalone.standalone_source(config_of())


def test_a_part_of_a_projects_own_comes_along(config_of: Callable[..., Any], own_module: Callable[..., Any]) -> None:
    norm = own_module().Shifted()
    source = standalone.standalone_source(config_of(norm=norm))
    assert "# Twice is better.\n@dataclass(frozen=True)\nclass Shifted(RMSNorm):" in source
    assert source.index("class RMSNorm(Part)") < source.index("class Shifted")
    assert "class Shifted" not in standalone.standalone_source(config_of())


@pytest.mark.parametrize("more", ["from forge.base.files import write_atomic", "import forge"])
def test_a_part_that_needs_more_of_forge_is_refused(
    config_of: Callable[..., Any], own_module: Callable[..., Any], more: str
) -> None:
    with pytest.raises(ValueError, match=f"own_parts_for_a_test has a part of this model and says `{more}`"):
        standalone.code_files(config_of(norm=own_module(more).Shifted()))
