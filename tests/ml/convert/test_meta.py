from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from forge.base.errors import FileError, ModelError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
meta = pytest.importorskip("forge.ml.convert.meta")
stored = pytest.importorskip("forge.ml.models.stored")


@pytest.mark.parametrize(
    ("given", "length", "rope"),
    [
        ({}, 4096, {"rope_type": "default", "rope_theta": 1e4}),
        ({"rope_theta": 5e5}, 8192, {"rope_type": "default", "rope_theta": 5e5}),
        (
            {"rope_theta": 5e5, "use_scaled_rope": True},
            131072,
            {
                "rope_type": "llama3",
                "rope_theta": 5e5,
                "factor": 32.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 8192,
            },
        ),
    ],
)
def test_each_generation_has_its_rotary_embeddings_and_its_length(
    model_folder: Callable[..., Path],
    as_meta: Callable[..., Path],
    tmp_path: Path,
    given: dict[str, Any],
    length: int,
    rope: dict[str, Any],
) -> None:
    folder = as_meta(model_folder(head_dim=None), tmp_path / "meta", 2, **given)
    with stored.open_weights(str(folder)) as weights:
        config, (remark,) = meta.llama_config(str(folder), weights.parts)
        assert config.max_position_embeddings == length
        assert {name: value for name, value in config.rope_parameters.items() if value is not None} == rope
        assert (config.vocab_size, config.intermediate_size, config.tie_word_embeddings) == (264, 48, False)
        assert f"{length:,} tokens are taken" in remark
        config, remarks = meta.llama_config(str(folder), weights.parts, 77)
        assert (config.max_position_embeddings, remarks) == (77, ())


def test_a_head_that_is_the_embeddings_is_tied(
    model_folder: Callable[..., Path], as_meta: Callable[..., Path], tmp_path: Path
) -> None:
    folder = as_meta(model_folder(head_dim=None), tmp_path / "meta")
    tensors = torch.load(folder / "consolidated.00.pth", weights_only=True)
    torch.save({**tensors, "output.weight": tensors["tok_embeddings.weight"]}, folder / "consolidated.00.pth")
    with stored.open_weights(str(folder)) as weights:
        assert meta.llama_config(str(folder), weights.parts)[0].tie_word_embeddings


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"dim": 1}', "does not say n_layers"),
        ('{"dim": 1, "n_layers": 1, "n_heads": 1, "norm_eps": 1, "moe": {}}', "a model with experts"),
    ],
)
def test_parameters_that_say_too_little_are_an_error(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / meta.PARAMETERS).write_text(text)
    with pytest.raises(ModelError, match=message):
        meta.llama_config(str(tmp_path), [{}])


def test_parameters_that_are_not_json_are_an_error(tmp_path: Path) -> None:
    (tmp_path / meta.PARAMETERS).write_text("{")
    with pytest.raises(FileError, match=r"params\.json:1: this is not JSON"):
        meta.llama_config(str(tmp_path), [{}])


def test_weights_that_are_no_llama_s_are_an_error(tmp_path: Path) -> None:
    (tmp_path / meta.PARAMETERS).write_text('{"dim": 1, "n_layers": 1, "n_heads": 1, "norm_eps": 1}')
    with pytest.raises(ModelError, match=r"have no tok_embeddings\.weight"):
        meta.llama_config(str(tmp_path), [{}])
