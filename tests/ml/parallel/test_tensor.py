"""Models whose matrices are divided learn what they learn in one process: losses, gradients of all parameters, weights."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from forge.base.locks import claim

FULL = bool(os.environ.get("FORGE_FULL"))
LONGEST = 2400 if FULL else 240
pytestmark = [pytest.mark.torch, pytest.mark.slow, pytest.mark.timeout(LONGEST + 30)]
RUNS = Path(__file__).with_name("tensor_runs.py")
TP: dict[str, Any] = {"tp": 2}
ALL: dict[str, Any] = {"tp": 2, "sequence_parallel": True, "loss_parallel": True}
FSDP: dict[str, Any] = {"dp_shard": 2, "zero_stage": 3}
CONFIGS: dict[str, dict[str, Any]] = {
    "llama": {},
    "qwen3": {"head_dim": 8},
    "mistral": {},
    "gemma2": {"head_dim": 8, "query_pre_attn_scalar": 8},
    "granite": {
        "attention_bias": True,
        "mlp_bias": True,
        "embedding_multiplier": 2.0,
        "logits_scaling": 3.0,
        "residual_multiplier": 0.5,
    },
    "cohere": {},
    "phi3": {},
    "qwen3_moe": {"head_dim": 8, "moe_intermediate_size": 16, "num_experts": 4, "num_experts_per_tok": 2},
    "qwen3_5_text": {
        "head_dim": 8,
        "layer_types": ["linear_attention", "full_attention"],
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 4,
        "linear_key_head_dim": 8,
        "linear_value_head_dim": 8,
    },
    "assembled": {},
}
PACKED = [model for model in CONFIGS if model != "qwen3_5_text"]  # whose layers keep a state along a row
BIASED = {"num_key_value_heads": 4, "attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True}

Case = dict[str, Any]


def case(model: str, layout: dict[str, Any], **more: Any) -> Case:
    """One model in one layout; its name is what it is."""
    name = " ".join([model, *map(str, layout.items()), *map(str, more.items())])
    return {"name": name, "model": model, "config": CONFIGS.get(model, {}), "layout": layout, **more}


def check(name: str, layout: dict[str, Any]) -> Case:
    """One of the checks of the runs."""
    return {"name": f"{name} {layout}", "check": name, "layout": layout}


SHORT = {"steps": 10 if FULL else 4}
ON_TWO = [
    check("talk", TP),
    check("loss", TP),
    check("logits", ALL),
    case("llama", TP, **SHORT),
    *([case("qwen3", ALL, **SHORT)] if FULL else []),
    case("gemma2", ALL, checkpointing=True, **SHORT),
    case("phi3", ALL, **SHORT),
    case("qwen3_moe", ALL, **SHORT),
    case("qwen3_5_text", ALL, attention="sdpa", padded=True, **SHORT),
    {**case("assembled", ALL, **SHORT), "config": {"qk_norm": True}},
    case("llama", ALL, lora=True, width=31, padded=True, **SHORT),
]
ON_FOUR = [
    check("pieces", TP | FSDP),
    case("qwen3", ALL | FSDP, **SHORT),
    case("llama", TP | {"dp_replicate": 2}, **SHORT),
]
if FULL:
    ON_TWO += [case(model, layout) for model in PACKED for layout in (TP, ALL)]
    ON_TWO += [case(model, ALL, lora=True) for model in ("qwen3", "granite", "phi3")]
    ON_TWO += [case("llama", ALL, checkpointing=how, compile=True) for how in (False, True, "selective")]
    ON_TWO += [case("llama", ALL, attention="sdpa", width=31), case("llama", TP, lora=["q_proj", "lm_head"])]
    ON_TWO += [check("logits", TP), case("llama", ALL, loss="logits"), case("llama", TP, loss="whole")]
    ON_FOUR += [case(model, ALL | FSDP) for model in PACKED]
    ON_FOUR += [case("gemma2", ALL | FSDP | {"zero_stage": 1}), case("llama", ALL | {"dp_replicate": 2})]
    ON_FOUR += [case("llama", ALL | FSDP, lora=True, compile=True)]
    ON_FOUR += [{**case("llama", ALL | {"tp": 4}, width=29, padded=True), "config": BIASED}]
REFUSED = {
    "gpt2": ("has no tensor-parallel plan", case("gpt2", TP)),
    "head": ("loss_parallel divides the head", case("llama", ALL, lora=["q_proj", "lm_head"])),
    "whole": ("are not made one by one", case("llama", ALL, loss="whole")),
    "heads": (
        "tp=2 does not divide the 1 head of model.layers.0.self_attn.k_proj",
        {**case("llama", TP), "config": {"num_key_value_heads": 1}},
    ),
    "width": ("does not divide into 2 equal pieces", {**case("llama", TP), "config": {"intermediate_size": 63}}),
    "vocabulary": ("does not divide into 2 equal pieces", {**case("llama", TP), "config": {"vocab_size": 129}}),
    "positions": ("adds a bias for each head", {**case("assembled", TP), "config": {"alibi": True}}),
}
ON_TWO += [{**one, "name": f"refused {name}"} for name, (_, one) in REFUSED.items()]
BOUNDS = {"loss": 1e-5, "norm": 1e-5, "gradient": 1e-5, "weight": 2e-4}
"""How far apart the two may be; a bias of keys hardly matters, and Adam makes much of the last bits of its gradient."""


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Case]:
    """What two and then four processes found out, by the names of the cases: once, whichever processes the tests run in."""
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "tensor_runs"
    folder.mkdir(exist_ok=True)
    held = claim(folder / "lock", wait=LONGEST)
    assert held is not None
    try:
        if not (folder / "answers.json").exists():
            _find_out(folder)
    finally:
        held.release()
    return {each["name"]: each for each in json.loads((folder / "answers.json").read_text())}


def _find_out(folder: Path) -> None:
    starts = [{"processes": n, "cases": cases, "port": free_port()} for n, cases in ((2, ON_TWO), (4, ON_FOUR))]
    (folder / "starts.json").write_text(json.dumps(starts))
    run = subprocess.run(
        [sys.executable, str(RUNS), str(folder / "starts.json"), str(folder / "answers.json")],
        env={**os.environ, "PYTHONPATH": str(RUNS.parents[3]), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=LONGEST,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-5000:]


def named(cases: list[Case]) -> list[Any]:
    return [pytest.param(one["name"], id=one["name"]) for one in cases]


@pytest.mark.parametrize("name", named([c for c in ON_TWO + ON_FOUR if "model" in c and "refused" not in c["name"]]))
def test_it_learns_the_same(answers: dict[str, Case], name: str) -> None:
    found = answers[name]
    assert "error" not in found, found.get("error")
    assert "refused" not in found, found.get("refused")
    far = {what: found[what] if what in ("loss", "norm") else found[what][0] for what in BOUNDS}
    assert all(far[what] <= bound for what, bound in BOUNDS.items()), found
    assert found["refilled"]


@pytest.mark.parametrize("name", named([c for c in ON_TWO + ON_FOUR if "check" in c]))
def test_what_it_is_made_of_is_right(answers: dict[str, Case], name: str) -> None:
    found = answers[name]
    assert "error" not in found, found.get("error")
    wrong = {what: results for what, results in found["checked"].items() if not all(results)}
    assert not wrong


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_divided_is_refused_with_the_reason(answers: dict[str, Case], name: str) -> None:
    assert REFUSED[name][0] in answers[f"refused {name}"].get("refused", answers[f"refused {name}"])


def test_a_process_has_its_pieces_only(answers: dict[str, Case]) -> None:
    pieces = next(found["pieces"] for name, found in answers.items() if name.startswith("phi3"))
    assert pieces["model.embed_tokens.weight"] == [64, 32]
    assert pieces["lm_head.weight"] == [64, 32]
    assert pieces["model.layers.0.mlp.gate_up_proj.weight"] == [64, 32]
    assert pieces["model.layers.0.mlp.down_proj.weight"] == [32, 32]
    experts = next(found["pieces"] for name, found in answers.items() if name.startswith("qwen3_moe"))
    assert experts["model.layers.0.mlp.experts.gate_up_proj"] == [4, 16, 32]
    assert experts["model.layers.0.mlp.gate.weight"] == [4, 32]


def test_compiled_layers_stay_whole(answers: dict[str, Case]) -> None:
    compiled = [found for name, found in answers.items() if "compile" in name]
    assert all(found["graphs"][0] == 0 for found in compiled)
    assert bool(compiled) is FULL
