"""The configs of the pydoc project, composed, checked against the policy and built."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from forge.base.places import shipped_projects
from forge.build.build import build
from forge.compose.cache import compose
from forge.compose.project import find_project
from forge.graph.lower import lower
from forge.graph.policy import default_policy

if TYPE_CHECKING:
    from pathlib import Path

CONFIGS = ["pretrain/tiny", "chat/full", "chat/lora"]
PROJECT = find_project(os.path.join(shipped_projects(), "pydoc"))


def _trainer(name: str, *overrides: str) -> Any:
    graph = lower(compose(PROJECT, name, overrides), "trainer")
    policy = default_policy(PROJECT.source_packages)
    return build(graph.root, policy=policy, source_folders=PROJECT.source_folders)


@pytest.fixture(scope="module")
def tiny() -> Any:
    pytest.importorskip("transformers")
    return _trainer("pretrain/tiny")


@pytest.fixture(scope="module")
def tiny_folder(tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    tiny.model.save_pretrained(folder)
    tiny.tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("name", CONFIGS)
def test_a_config_composes_into_a_graph_with_flags_and_a_description(name: str) -> None:
    composed = compose(PROJECT, name)
    assert lower(composed, "trainer").root
    assert composed.meta["description"].endswith(".")
    flags = {argument.name for argument in composed.arguments}
    assert {"model", "max_steps", "learning_rate", "save_strategy", "resume_from_checkpoint", "seed"} <= flags


@pytest.mark.torch
def test_one_vocabulary_size_rules_the_tokenizer_and_the_model(tiny: Any) -> None:
    assert (
        len(tiny.tokenizer) == tiny.model.config.vocab_size == tiny.model.get_input_embeddings().num_embeddings == 4096
    )
    ids = (tiny.tokenizer.pad_token_id, tiny.tokenizer.bos_token_id, tiny.tokenizer.eos_token_id)
    assert ids == (tiny.model.config.pad_token_id, tiny.model.config.bos_token_id, tiny.model.config.eos_token_id)


@pytest.mark.torch
def test_the_tokenizer_has_learned_this_text(tiny: Any) -> None:
    text = "\n".join(list(tiny.dataset.held_out)[:20])
    assert len(text) / len(tiny.tokenizer(text).input_ids) > 2.5


@pytest.mark.torch
def test_a_few_steps_lower_the_loss_of_the_built_model(tiny_folder: Path) -> None:
    from forge.ml.optim.groups import parameter_groups

    run = _trainer(
        "chat/full", f"model.path={tiny_folder}", "model.dtype={_symbol_:torch.float32}", "optimizer.lr=0.002"
    )
    text = run.tokenizer.apply_chat_template(next(iter(run.dataset.train))["messages"], tokenize=False)
    batch = run.tokenizer(text, return_tensors="pt").input_ids
    optimizer = run.optimizer(parameter_groups(run.model))
    losses = []
    for _ in range(5):
        loss = run.model(input_ids=batch, labels=batch).loss
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < losses[0] - 0.1


@pytest.mark.torch
def test_lora_trains_the_adapter_alone(tiny_folder: Path) -> None:
    run = _trainer("chat/lora", f"model.path={tiny_folder}")
    from forge.ml.optim.groups import parameter_groups

    optimizer = run.optimizer(parameter_groups(run.model))
    held = {name for group in optimizer.param_groups for name in group["param_names"]}
    assert held
    assert all("lora_" in name for name in held)
    assert run.output_dir is None  # output/pydoc/chat/lora: the model's own folder is another run's
