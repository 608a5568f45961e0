from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from forge.base.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
compare = pytest.importorskip("forge.ml.convert.compare")
source = pytest.importorskip("forge.ml.convert.source")


def test_the_same_model_has_no_difference_and_another_has(
    model_folder: Callable[..., Path], converted: Callable[..., Any], tmp_path: Path
) -> None:
    folder = model_folder()
    narrow = converted(folder, tmp_path / "narrow", dtype="bfloat16")
    other = model_folder(name="other", rms_norm_eps=0.5)
    with source.open_source(str(folder)) as found:
        same = compare.compare(found, str(folder), "float32")
        assert (same.greatest, same.same_choice, same.small) == (0, 1, True)
        assert "logits differ by 0 at most" in str(same)
        rounded = compare.compare(found, str(narrow), "bfloat16", known=259)
        assert rounded.greatest > 0
        assert rounded.small
        assert not compare.compare(found, str(other), "float32").small


def test_what_cannot_be_loaded_is_an_error(model_folder: Callable[..., Path]) -> None:
    folder = model_folder()
    with source.open_source(str(folder)) as found:
        (folder / "config.json").write_text(json.dumps({"model_type": "nothing"}))
        with pytest.raises(ModelError, match="transformers cannot load what was written"):
            compare.compare(found, str(folder), "float32")


def test_the_difference_is_measured_by_the_largest_logit() -> None:
    found = compare.compared(torch.tensor([[1.0, -4.0], [2.0, 3.0]]), torch.tensor([[1.5, -4.0], [4.0, 3.0]]), 0.4)
    assert (found.greatest, found.mean, found.largest_logit, found.same_choice) == (2.0, 0.625, 4.0, 0.5)
    assert not found.small
