from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import yaml

from forge.ml.convert.card import CardFacts, card

if TYPE_CHECKING:
    from pathlib import Path


def test_a_model_of_which_nothing_is_known_has_a_card_too() -> None:
    text = card(CardFacts("tiny", "LlamaForCausalLM", "float32", 12345))
    assert text.startswith("---\nlibrary_name: transformers\npipeline_tag: text-generation\n---\n\n# tiny\n")
    assert "A LlamaForCausalLM with 12,345 parameters in float32.\n" in text
    assert "| forge |" in text
    assert "## Data" not in text


@pytest.mark.parametrize("front", ["no front", "---\n[: broken\n---\n", "---\n- list\n---\n"])
def test_a_base_model_without_a_right_card_says_nothing(tmp_path: Path, front: str) -> None:
    (tmp_path / "README.md").write_text(front)
    text = card(CardFacts("tiny", "X", "float32", 1, base=str(tmp_path)))
    assert yaml.safe_load(text.split("---")[1]) == {"library_name": "transformers", "pipeline_tag": "text-generation"}
    assert str(tmp_path) not in text


def test_a_base_model_of_the_hub_is_named() -> None:
    assert "base_model: me/base" in card(CardFacts("tiny", "X", "float32", 1, base="me/base", adapter="LoRA"))


def test_a_config_that_does_not_parse_is_shown_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("a: [")
    (tmp_path / "run.json").write_text("{")
    text = card(CardFacts("tiny", "X", "float32", 1, run_folder=str(tmp_path)))
    assert "a: [" in text
    assert "| config |" not in text
