"""What holds for every file of the library."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from forge.base.places import library_configs
from forge.graph.policy import default_policy

if TYPE_CHECKING:
    from collections.abc import Callable

GROUPS = {
    "adapter": {"lora", "dora", "qlora"},
    "args": {"train"},
    "attention": {"mha", "mha_biased", "gqa", "gqa_qk_norm", "gqa_window"},
    "callback": {"none", "nonfinite", "samples", "early_stopping", "profiler", "memory_snapshot"},
    "dataset": {"text", "text_rows", "chat_files", "hub_text", "hub_chat", "mixture"},
    "feedforward": {"glu", "geglu", "mlp"},
    "launch": {"local", "ssh", "slurm", "k8s_pytorchjob", "k8s_pytorchjob_elastic", "k8s_trainjob", "k8s_job"},
    "layer": {"prenorm", "postnorm"},
    "logging": {"none", "tensorboard", "wandb", "mlflow", "trackio"},
    "model": {"tiny", "pretrained", "gpt2", "gpt2_medium", "gpt2_large", "gpt2_xl", "mistral_7b", "mistral_7b_v0.3"}
    | {f"llama2_{size}" for size in ("7b", "13b", "70b")}
    | {"llama3_8b", "llama3_70b", "llama3.1_8b", "llama3.1_70b", "llama3.1_405b"}
    | {"llama3.2_1b", "llama3.2_3b", "llama3.3_70b"}
    | {f"qwen2.5_{size}" for size in ("0.5b", "1.5b", "3b", "7b", "14b", "32b", "72b")}
    | {f"qwen3_{size}" for size in ("0.6b", "1.7b", "4b", "8b", "14b", "32b")}
    | {f"smollm2_{size}" for size in ("135m", "360m", "1.7b")}
    | {"assembled", "assembled_llama", "assembled_gpt"},
    "norm": {"rmsnorm", "layernorm"},
    "optimizer": {"adamw", "adafactor", "muon", "sgd", "adamw_8bit", "adamw_4bit"},
    "parallel": {"single", "ddp", "zero1", "zero2", "zero3", "fsdp", "hsdp", "tp", "cp"}
    | {f"pp_{schedule}" for schedule in ("gpipe", "1f1b", "i1f1b", "bfs", "zb", "zbv", "dualpipe")}
    | {"fsdp_tp", "hsdp_tp", "pp_fsdp", "pp_tp", "pp_fsdp_tp", "cp_fsdp"},
    "position": {"rope", "rope_linear", "rope_dynamic", "rope_yarn", "rope_llama3", "alibi", "learned", "none"},
    "schedule": {"cosine", "linear", "constant", "wsd"},
    "tokenizer": {"bpe", "pretrained"},
    "trainer": {"default", "finetune"},
}

FILES = sorted(
    os.path.relpath(os.path.join(folder, name), library_configs())
    for folder, _, names in os.walk(library_configs())
    for name in names
)
CHOICES = [
    tuple(file.removesuffix(".yaml").split(os.sep)) for file in FILES if not os.path.basename(file).startswith("_")
]

with open(os.path.join(library_configs(), "args", "train.yaml"), encoding="utf-8") as flags:
    FLAGS = sorted(yaml.safe_load(flags))


def test_the_library_has_the_groups_and_choices_it_promises() -> None:
    found: dict[str, set[str]] = {}
    for group, choice in CHOICES:
        found.setdefault(group, set()).add(choice)
    assert found == GROUPS


@pytest.mark.parametrize("file", FILES)
def test_a_file_says_in_its_first_line_what_it_is(file: str) -> None:
    with open(os.path.join(library_configs(), file), encoding="utf-8") as opened:
        first = opened.readline()
    assert first.startswith("# ")
    assert first.rstrip().endswith(".")


@pytest.mark.parametrize(("group", "choice"), CHOICES)
def test_a_choice_composes_into_its_own_group(choose: Callable[..., Any], group: str, choice: str) -> None:
    assert choose(group, choice)


@pytest.mark.parametrize("file", FILES)
def test_a_file_names_only_targets_that_the_policy_allows(file: str) -> None:
    with open(os.path.join(library_configs(), file), encoding="utf-8") as opened:
        named = re.findall(r"_(?:target|symbol)_: ([\w.]+)", opened.read())
    for target in named:
        default_policy().check_name(target)


@pytest.mark.parametrize("flag", FLAGS)
def test_a_flag_sets_a_value_that_the_groups_have(choose: Callable[..., Any], flag: str) -> None:
    setting = choose("args", "train")[flag]
    group, key = setting["key"].split(".")
    of_group = {"trainer": "default", "model": "tiny", "optimizer": "adamw", "tokenizer": "pretrained"}
    assert key in choose(group, of_group[group])
    assert setting["help"].endswith(".")
    assert setting["type"] in {"int", "float", "str", "bool", "path"}
