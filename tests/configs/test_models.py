"""Every model of the library, built as a transformers model without memory, has as many parameters as the published one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

PUBLISHED = {
    "llama2_7b": 6_738_415_616,
    "llama2_13b": 13_015_864_320,
    "llama2_70b": 68_976_648_192,
    "llama3_8b": 8_030_261_248,
    "llama3_70b": 70_553_706_496,
    "llama3.1_8b": 8_030_261_248,
    "llama3.1_70b": 70_553_706_496,
    "llama3.1_405b": 405_853_388_800,
    "llama3.2_1b": 1_235_814_400,
    "llama3.2_3b": 3_212_749_824,
    "llama3.3_70b": 70_553_706_496,
    "mistral_7b": 7_241_732_096,
    "mistral_7b_v0.3": 7_248_023_552,
    "qwen2.5_0.5b": 494_032_768,
    "qwen2.5_1.5b": 1_543_714_304,
    "qwen2.5_3b": 3_085_938_688,
    "qwen2.5_7b": 7_615_616_512,
    "qwen2.5_14b": 14_770_033_664,
    "qwen2.5_32b": 32_763_876_352,
    "qwen2.5_72b": 72_706_203_648,
    "qwen3_0.6b": 596_049_920,
    "qwen3_1.7b": 1_720_574_976,
    "qwen3_4b": 4_022_468_096,
    "qwen3_8b": 8_190_735_360,
    "qwen3_14b": 14_768_307_200,
    "qwen3_32b": 32_762_123_264,
    "smollm2_135m": 134_515_008,
    "smollm2_360m": 361_821_120,
    "smollm2_1.7b": 1_711_376_384,
    "gpt2": 124_439_808,
    "gpt2_medium": 354_823_168,
    "gpt2_large": 774_030_080,
    "gpt2_xl": 1_557_611_200,
}
# Positions, base of the rotary embeddings, and the tokens that begin and end a text, as the published config.json has them.
POSITIONS = {
    "llama2_7b": (4096, 1e4, 1, 2),
    "llama3_8b": (8192, 5e5, 128000, 128001),
    "llama3.1_8b": (131072, 5e5, 128000, 128001),
    "llama3.3_70b": (131072, 5e5, 128000, [128001, 128008, 128009]),
    "llama3.2_1b": (131072, 5e5, 128000, 128001),
    "mistral_7b": (32768, 1e4, 1, 2),
    "mistral_7b_v0.3": (32768, 1e6, 1, 2),
    "qwen2.5_0.5b": (32768, 1e6, 151643, 151643),
    "qwen2.5_7b": (131072, 1e6, 151643, 151643),
    "qwen3_8b": (40960, 1e6, 151643, 151645),
    "smollm2_135m": (8192, 1e5, 0, 0),
    "smollm2_1.7b": (8192, 1.3e5, 0, 0),
}


def _config(model: dict[str, Any], **changed: Any) -> Any:
    settings = {**model["config"], **changed}
    target = settings.pop("_target_")
    return getattr(transformers, target.removeprefix("transformers."))(**settings)


def _parameters(config: Any) -> int:
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config)
    return sum(parameter.numel() for parameter in model.parameters())


def _parameters_of_all_layers(model: dict[str, Any]) -> int:
    """Layers are alike, so two small models tell what one layer has, and building 126 of them is saved."""
    key = "n_layer" if "n_layer" in model["config"] else "num_hidden_layers"
    one, two = (_parameters(_config(model, **{key: count})) for count in (1, 2))
    return one + (model["config"][key] - 1) * (two - one)


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_a_model_has_as_many_parameters_as_the_published_one(choose: Callable[..., Any], name: str) -> None:
    assert _parameters_of_all_layers(choose("model", name)) == PUBLISHED[name]


def test_counting_layers_gives_the_same_as_building_them(choose: Callable[..., Any]) -> None:
    model = choose("model", "smollm2_135m")
    assert _parameters(_config(model)) == _parameters_of_all_layers(model) == PUBLISHED["smollm2_135m"]


def test_the_tiny_model_is_tiny(choose: Callable[..., Any]) -> None:
    assert 1_000_000 < _parameters(_config(choose("model", "tiny"))) < 3_000_000


@pytest.mark.parametrize("name", sorted(POSITIONS))
def test_a_model_has_the_published_positions_and_tokens(choose: Callable[..., Any], name: str) -> None:
    config = _config(choose("model", name))
    rope = config.rope_parameters["rope_theta"]
    assert (config.max_position_embeddings, rope, config.bos_token_id, config.eos_token_id) == POSITIONS[name]


@pytest.mark.parametrize(("name", "factor"), [("llama3.1_405b", 8.0), ("llama3.2_3b", 32.0), ("llama3.3_70b", 8.0)])
def test_llama_stretches_its_positions_by_the_published_factor(
    choose: Callable[..., Any], name: str, factor: float
) -> None:
    assert _config(choose("model", name)).rope_parameters == {
        "rope_type": "llama3",
        "rope_theta": 500000.0,
        "factor": factor,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }


@pytest.mark.parametrize(("name", "window"), [("mistral_7b", 4096), ("mistral_7b_v0.3", None)])
def test_only_the_first_mistral_has_a_sliding_window(choose: Callable[..., Any], name: str, window: int | None) -> None:
    assert _config(choose("model", name)).sliding_window == window


@pytest.mark.parametrize("name", ["tiny", *sorted(PUBLISHED)])
def test_no_setting_of_a_model_is_unknown_to_its_class(choose: Callable[..., Any], name: str) -> None:
    # transformers keeps an unknown setting without a word, so a misspelt one would have no effect.
    config = choose("model", name)["config"]
    known = set(getattr(transformers, config["_target_"].removeprefix("transformers."))().to_dict())
    assert set(config) - {"_target_"} <= known
