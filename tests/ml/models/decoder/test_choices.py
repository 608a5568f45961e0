"""The choices of the library for an assembled decoder, composed as a user does and built."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from forge.api.project import open_project
from forge.base.places import library_configs

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
decoder = pytest.importorskip("forge.ml.models.decoder")

PARTS = ("attention", "norm", "feedforward", "position", "layer")
CHOICES = [
    f"{group}={name.removesuffix('.yaml')}"
    for group in PARTS
    for name in sorted(os.listdir(os.path.join(library_configs(), group)))
]
SMALL = ("model.config.hidden_size=64", "model.config.num_hidden_layers=2", "model.config.vocab_size=64")
TEXT = """\
defaults:
  - /model: assembled
  - /attention@local_attention: gqa_window
  - /layer@local: prenorm
  - _self_
local_attention: {sliding_window: 4}
local: {attention: "${local_attention}"}
model:
  config:
    num_hidden_layers: 6
    layers: {local: "${local}", again: "${local}"}
    replaced: {5: "${layer}"}
"""


@pytest.fixture
def model_from(tmp_path: Path) -> Callable[..., Any]:
    """A function that builds the model of a config from its text and the changes of a line."""

    def built(*changes: str, text: str = "defaults: [{/model: assembled}]") -> Any:
        (tmp_path / "project.yaml").write_text("name: demo\n")
        (tmp_path / "configs").mkdir(exist_ok=True)
        (tmp_path / "configs" / "own.yaml").write_text(text)
        return open_project(str(tmp_path)).config("own", *SMALL, *changes).build("model")

    return built


@pytest.mark.parametrize("choice", CHOICES)
def test_each_choice_is_built_and_computes(model_from: Callable[..., Any], choice: str) -> None:
    model = model_from(choice)
    assert type(model) is decoder.AssembledForCausalLM
    tokens = torch.arange(20)[None]
    loss = model(tokens, labels=tokens).loss
    loss.backward()
    assert torch.isfinite(loss)
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize(
    ("name", "kind"), [("assembled", "llama"), ("assembled_llama", "llama"), ("assembled_gpt", "gpt2")]
)
def test_each_assembly_is_the_known_architecture_it_says(model_from: Callable[..., Any], name: str, kind: str) -> None:
    assert decoder.as_family(model_from(f"model={name}")).config.model_type == kind


@pytest.mark.parametrize(
    ("choice", "kind"), [("gqa", "llama"), ("mha", "llama"), ("gqa_qk_norm", "qwen3"), ("gqa_window", "mistral")]
)
def test_a_choice_of_attention_leads_to_a_family(model_from: Callable[..., Any], choice: str, kind: str) -> None:
    assert decoder.as_family(model_from(f"attention={choice}")).config.model_type == kind


def test_a_config_adds_layers_to_the_pattern_and_replaces_single_ones(model_from: Callable[..., Any]) -> None:
    config = model_from("model.config.num_hidden_layers=6", text=TEXT).config
    assert [layer.attention.sliding_window for layer in config.stack] == [None, 4, 4, None, 4, None]


@pytest.mark.parametrize("name", ["assembled", "assembled_gpt"])
def test_no_setting_is_unknown_to_its_class(choose_settings: Callable[[str], set[str]], name: str) -> None:
    # transformers keeps an unknown setting without a word, so a misspelt one would have no effect.
    known = {entry for kind in decoder.DecoderConfig.__mro__ for entry in getattr(kind, "__annotations__", {})}
    assert choose_settings(name) <= known


@pytest.fixture
def choose_settings(tmp_path: Path) -> Callable[[str], set[str]]:
    """A function that gives the names of the settings that a choice of model has."""

    def names(choice: str) -> set[str]:
        (tmp_path / "project.yaml").write_text("name: demo\n")
        (tmp_path / "configs").mkdir()
        (tmp_path / "configs" / "own.yaml").write_text(f"defaults: [{{/model: {choice}}}]")
        config = open_project(str(tmp_path)).config("own").graph_of("model.config").root
        return {edge.key for edge in config.kwargs}

    return names
