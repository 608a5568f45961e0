from __future__ import annotations

import pytest

from forge.graph.static.misspelt import surely_meant


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("optimzer", "optimizer"),
        ("hiden_size", "hidden_size"),
        ("AdmW", "AdamW"),
        ("betsa", "betas"),
        ("LlamaForCausaLM", "LlamaForCausalLM"),
        ("AutoModelForCausalLm", "AutoModelForCausalLM"),
    ],
)
def test_a_slip_of_the_fingers_is_recognised(word: str, meant: str) -> None:
    assert surely_meant(word, ["scheduler", meant, "trainer"]) == meant


@pytest.mark.parametrize(
    ("word", "other"),
    [
        ("datasets", "dataset"),  # a suffix
        ("eval_dataset", "dataset"),  # a prefix
        ("int7", "int8"),  # another number
        ("lr", "lm"),  # too short to be sure
        ("LlamaTokenizerFast", "LlamaTokenizer"),
        ("model", "trainer"),
        ("model", "model"),
    ],
)
def test_another_name_is_not_a_slip(word: str, other: str) -> None:
    assert surely_meant(word, [other]) is None


def test_the_nearest_one_is_meant() -> None:
    assert surely_meant("hidden_sise", ["hidden_side_", "hidden_size"]) == "hidden_size"
