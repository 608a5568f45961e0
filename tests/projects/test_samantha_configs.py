"""The configs of the samantha project: the tutorial's numbers, what its cards have room for, and the project's own talks."""

from __future__ import annotations

import os
import sys
from typing import Any

import pytest

from forge.api.project import open_project
from forge.base.places import shipped_projects
from forge.ml.chat.formats import recognise, to_conversation
from forge.plan.make import make_plan
from forge.plan.read import read_run
from forge.plan.report import plan_data

FOLDER = os.path.join(shipped_projects(), "samantha")
SAMANTHA = open_project(FOLDER)
TINY = ["tiny/llama2", "tiny/llama3"]
NAMES = [config.name for config in SAMANTHA.configs(examine=False) if config.name not in TINY]
STAGES = {"1f1b": "1f1b", "i1f1b": "interleaved_1f1b", "zb": "zbv"}
# Rows of a step, the longest row, and the learning rate; the rest follows from the names.
NUMBERS: dict[str, tuple[int, int, float]] = {
    "llama2_7b/1gpu_default": (8, 1300, 4e-6),
    "llama2_7b/1gpu_minimum": (1, 512, 1.41e-6),
    "llama2_7b/1gpu_packed": (4, 4096, 4e-6),
    "llama2_7b/2gpu_pp_1f1b": (4, 1300, 4e-6),
    "llama2_7b/2gpu_pp_i1f1b_packed": (8, 4096, 4e-6),
    "llama2_7b/4gpu_pp_1f1b": (8, 1300, 4e-6),
    "llama2_7b/4gpu_pp_1f1b_adamw": (8, 1300, 4e-6),
    "llama2_7b/4gpu_pp_1f1b_adamw4bit": (8, 1300, 4e-6),
    "llama2_7b/4gpu_pp_1f1b_float32": (8, 1300, 4e-6),
    "llama2_7b/4gpu_pp_i1f1b": (8, 1300, 4e-6),
    "llama2_7b/4gpu_pp_i1f1b_packed": (8, 4096, 4e-6),
    "llama2_7b/4gpu_pp_zb": (8, 1300, 4e-6),
    "llama3_1b/1gpu_default": (16, 1300, 1.6e-5),
    "llama3_1b/1gpu_packed": (16, 4096, 1e-4),
    "llama3_1b/2gpu_pp_1f1b": (4, 1300, 4e-6),
    "llama3_1b/2gpu_pp_i1f1b": (8, 4096, 4e-6),
}
MICROBATCHES = {"llama2_7b/4gpu_pp_i1f1b": 8, "llama2_7b/4gpu_pp_i1f1b_packed": 8, "llama2_7b/4gpu_pp_zb": 8}
GIB = 1 << 30
CUDA = 800e6


def test_every_configuration_of_the_tutorial_is_there() -> None:
    assert sorted(NAMES) == sorted(NUMBERS)


@pytest.mark.parametrize("name", NAMES)
def test_a_config_is_what_its_name_says(name: str) -> None:
    data = SAMANTHA.config(name).data(resolve=True)
    trainer, layout = data["trainer"], data["parallel"]
    gpus = int(name.split("/")[1][0])
    assert (layout["pp"], data["launch"]["nproc_per_node"]) == (gpus, gpus)
    schedule = name.partition("_pp_")[2].partition("_")[0] if "_pp_" in name else None
    assert layout["pp_schedule"] == (STAGES[schedule] if schedule else None)
    assert layout["microbatches"] == (MICROBATCHES.get(name, 4) if schedule else 1)
    packed = "packed" in name or name == "llama3_1b/2gpu_pp_i1f1b"
    assert data["dataset"]["packing"] == ("best_fit" if packed else "none")
    assert data["model"]["dtype"]["_symbol_"] == ("torch.float32" if "float32" in name else "torch.bfloat16")
    optimizer = data["optimizer"]["_target_"].rpartition(".")[2]
    adamw = "adamw" in name or name == "llama3_1b/1gpu_packed"
    assert optimizer == ("AdamW4bit" if "adamw4bit" in name else "AdamW" if adamw else "Adafactor")
    rows = trainer["per_device_train_batch_size"] * trainer["gradient_accumulation_steps"]
    assert (rows, data["dataset"]["max_length"], data["optimizer"]["lr"]) == NUMBERS[name]
    assert data["optimizer"]["weight_decay"] == 1e-3
    assert trainer["num_train_epochs"] == (2 if name.startswith("llama3_1b/1gpu") else 1)


@pytest.mark.parametrize("name", NAMES)
def test_small_changes_of_weights_of_16_bits_are_not_lost(name: str) -> None:
    data = SAMANTHA.config(name).data(resolve=True)
    rounds = data["trainer"]["stochastic_rounding"] or data["optimizer"].get("bf16_stochastic_round")
    assert bool(rounds) is ("float32" not in name)
    if data["optimizer"]["_target_"] == "torch.optim.Adafactor":
        assert data["optimizer"]["eps"][1] == 1.0  # otherwise the rate would be a share of the weights' size


@pytest.mark.parametrize("name", NAMES)
def test_a_config_fits_its_cards(name: str) -> None:
    model = "llama3.2_1b" if name.startswith("llama3_1b") else "llama2_7b"
    config = SAMANTHA.config(name, f"model={model}")
    reading: Any = read_run(config.graph.root, config.main)
    plan = make_plan(name, reading, layout=reading.layout, ranks=reading.ranks, device="cuda", per_node=None)
    assert not plan.refused
    room = 16 if name.endswith("minimum") else 24
    peak = plan_data(plan)["peak"]
    assert peak + CUDA < room * GIB
    assert _told()[name] == pytest.approx(peak / 1e9, rel=0.02)


def _told() -> dict[str, float]:
    """What the project's page says that each config takes, in GB a card."""
    with open(os.path.join(FOLDER, "README.md"), encoding="utf-8") as file:
        rows = [[cell.strip(" `") for cell in line.split("|")[1:-1]] for line in file if line.startswith("| `")]
    head, *table = [row for row in rows if len(row) == 6]
    cells = [cell for row in table for cell in zip(head[::2], row[::2], row[1::2], strict=True)]
    return {family + name: float(size) for family, name, size in cells if name}


def test_a_zero_bubble_pipeline_has_nothing_that_keeps_it_from_cutting_the_backward_pass() -> None:
    trainer = SAMANTHA.config("llama2_7b/4gpu_pp_zb").data(resolve=True)["trainer"]
    off = ("gradient_checkpointing", "enable_activation_offloading", "torch_compile")
    assert not any(trainer[name] for name in off)


def test_the_talks_are_conversations_in_the_format_of_the_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [os.path.join(FOLDER, "src"), *sys.path])
    from samantha_talks import talks, texts

    train, held_out = list(talks("train")), list(talks("held_out"))
    assert (len(train), len(held_out)) == (45, 5)
    assert not {row["id"] for row in train} & {row["id"] for row in held_out}
    named = 0
    for row in (*train, *held_out):
        conversation = to_conversation(row, recognise(row, "sharegpt", renamed={}, tags={}))
        roles = [message["role"] for message in conversation.messages]
        assert roles == ["user", "assistant"] * (len(roles) // 2)
        named += "Samantha" in conversation.messages[1]["content"]
    assert named > 8
    assert texts("held_out")[1] == "What are you called?\nI am called Samantha. And you?"
