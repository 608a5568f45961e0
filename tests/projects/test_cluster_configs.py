"""The projects made after tutorials on clusters: their numbers, their jobs, and the part of the loop that one of them brings."""

from __future__ import annotations

import os
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from forge.api.project import open_project
from forge.base.places import shipped_projects
from forge.launch.k8s import manifests
from forge.launch.slurm import sbatch_script

ALPACA_TUNE = {
    "optimizer.lr": 2e-5,
    "trainer.per_device_train_batch_size": 4,
    "trainer.num_train_epochs": 1,
    "trainer.max_grad_norm": None,
    "trainer.torch_compile": True,
    "dataset.max_length": 1024,
    "dataset.packing": "best_fit",
    "model.dtype._symbol_": "torch.bfloat16",
    "launch.nodes": 2,
    "launch.nproc_per_node": 8,
    "launch.gpus_per_node": 8,
    "launch.job_name": "torchtune-multi-node",
}
NANOTRON = {
    "trainer.max_steps": 10000,
    "trainer.seed": 42,
    "trainer.max_grad_norm": 1.0,
    "trainer.save_steps": 1000,
    "optimizer.lr": 3e-4,
    "optimizer.weight_decay": 0.01,
    "schedule.warmup_steps": 1000,
    "schedule.min_lr_ratio": 0.1,
    "parallel.pp": 1,
    "parallel.tp": 2,
    "dataset.train.name": "stas/openwebtext-10k",
    "dataset.column": "text",
    "launch.nodes": 2,
    "launch.gpus_per_node": 8,
    "launch.nproc_per_node": 8,
    "launch.partition": "hopper-prod",
    "launch.qos": "normal",
    "launch.time": "1:00:00",
}
NUMBERS: dict[tuple[str, str], dict[str, Any]] = {
    ("torchtune_70b", "full_finetune_multinode"): ALPACA_TUNE
    | {"parallel.zero_stage": 3, "parallel.tp": 1, "launch.cpus_per_node": 96, "launch.partition": "train"},
    ("torchtune_70b", "full_finetune_2d"): ALPACA_TUNE | {"parallel.tp": 8, "parallel.dp_shard": -1},
    ("nebius", "full_finetune_multinode"): ALPACA_TUNE
    | {
        "parallel.tp": 8,
        "trainer.gradient_checkpointing": False,
        "callback.profiler.wait_steps": 5,
        "callback.profiler.warmup_steps": 3,
        "callback.profiler.active_steps": 20,
        "callback.profiler.num_cycles": 1,
        "launch.cpus_per_node": 16,
        "launch.log_folder": "slurm_out",
    },
    ("nebius", "lora_finetune_multinode"): {
        "model.adapter.r": 16,
        "model.adapter.lora_alpha": 32,
        "model.adapter.target_modules": ["q_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
        "optimizer.lr": 3e-4,
        "optimizer.weight_decay": 0.01,
        "trainer.per_device_train_batch_size": 2,
        "parallel.zero_stage": 3,
        "launch.nodes": 2,
    },
    ("llamafactory", "finetune_lora_multi_node"): {
        "launch.nodes": 2,
        "launch.nproc_per_node": 4,
        "trainer.save_steps": 200,
        "trainer.save_total_limit": 3,
        "trainer.hang_seconds": 300.0,
    },
    ("llamafactory", "finetune_full_multi_node"): {"parallel.zero_stage": 2, "launch.nproc_per_node": 4},
    ("nanotron", "my_experiment"): NANOTRON | {"launch.nodes": 4, "model.config.hidden_size": 2048},
    ("nanotron", "quick_test"): NANOTRON | {"trainer.max_steps": 100, "schedule.warmup_steps": 10},
    ("nanotron", "production_run"): NANOTRON
    | {
        "trainer.max_steps": 50000,
        "optimizer.lr": 2e-4,
        "schedule.warmup_steps": 2000,
        "parallel.pp": 2,
        "dataset.train.name": "my_dataset",
        "tokenizer.path": "my_tokenizer",
        "launch.nodes": 8,
        "launch.mail": "researcher@example.com",
        "launch.time": "72:00:00",
    },
    ("nanotron", "custom_arch"): NANOTRON
    | {
        "model.config.hidden_size": 1536,
        "model.config.num_hidden_layers": 24,
        "model.config.num_attention_heads": 16,
        "model.config.num_key_value_heads": 4,
        "trainer.max_steps": 20000,
        "launch.nodes": 4,
    },
    ("nanotron", "test_config"): NANOTRON,
    ("nanotron", "custom_script"): NANOTRON | {"launch.log_folder": "slurm_scripts"},
    ("nanotron", "monitored_run"): NANOTRON,
    ("nanotron", "manual"): NANOTRON
    | {
        "parallel.pp": 2,
        "parallel.dp_replicate": 8,
        "launch.nodes": 4,
        "launch.tmp_dir": "/tmp",  # noqa: S108 - what the config says
        "launch.partition": "your_partition",
    },
}


def _config(project: str, name: str) -> Any:
    return open_project(os.path.join(shipped_projects(), project)).config(name)


@pytest.mark.parametrize(("project", "name"), NUMBERS, ids="-".join)
def test_a_config_has_the_numbers_of_its_tutorial(project: str, name: str) -> None:
    config = _config(project, name)
    wanted = dict(NUMBERS[project, name])
    if (project, name) in {("nanotron", name) for name in ("production_run", "manual")}:
        # Eight microbatches of two rows a step, cut in another way.
        wanted |= {"trainer.per_device_train_batch_size": 4, "trainer.gradient_accumulation_steps": 4}
    elif project == "nanotron":
        wanted |= {"trainer.per_device_train_batch_size": 2, "trainer.gradient_accumulation_steps": 8}
    assert {key: config.data(resolve=True, path=key) for key in wanted} == wanted


@pytest.mark.parametrize(
    ("project", "name", "directives"),
    [
        (
            "torchtune_70b",
            "full_finetune_multinode",
            ["nodes=2", "gpus-per-node=8", "cpus-per-task=96", "partition=train"],
        ),
        (
            "nebius",
            "lora_finetune_multinode",
            ["job-name=torchtune-multi-node", "cpus-per-task=16", "output=slurm_out/slurm-%j.out"],
        ),
        ("nanotron", "production_run", ["nodes=8", "mail-user=researcher@example.com", "time=72:00:00", "exclusive"]),
    ],
)
def test_a_job_asks_slurm_for_what_the_tutorial_asks(project: str, name: str, directives: list[str]) -> None:
    config = _config(project, name)
    script = sbatch_script(config.build("launch"), "/shared/run")
    for directive in [*directives, "ntasks-per-node=1", "requeue"]:
        assert f"#SBATCH --{directive}\n" in script


def test_the_kubernetes_job_has_two_pods_of_four_gpus_and_writes_to_their_volume() -> None:
    config = _config("llamafactory", "finetune_lora_pytorchjob")
    _, job = manifests(config.build("launch"), "/shared/lora/runs/1", {})
    replicas = job["spec"]["pytorchReplicaSpecs"]
    assert {name: replica["replicas"] for name, replica in replicas.items()} == {"Master": 1, "Worker": 1}
    container = replicas["Worker"]["template"]["spec"]["containers"][0]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "4"
    output = config.data(resolve=True, path="trainer.output_dir")
    assert any(output.startswith(mount["mountPath"] + "/") for mount in container["volumeMounts"])


@pytest.mark.torch
def test_the_tokens_that_are_left_are_told_every_so_many_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    monkeypatch.setattr(sys, "path", [os.path.join(shipped_projects(), "nanotron", "src"), *sys.path])
    from nanotron_parts import TokensLeft

    run = SimpleNamespace(step=2, total_steps=10, counts=SimpleNamespace(tokens=500))
    told: dict[str, Any] = {}
    TokensLeft(every_steps=3).after_step(run, told)
    assert told == {}
    TokensLeft(every_steps=2).after_step(run, told)
    assert told == {"tokens_left": 2000}
    with pytest.raises(ValueError, match="at least 1"):
        TokensLeft(every_steps=0)
