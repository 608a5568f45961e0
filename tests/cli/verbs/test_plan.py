from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Done, Run


@pytest.fixture
def plan(run: Run, tmp_path: Path) -> Run:
    """Plans a shipped config: ``plan("parallel=fsdp", "--gpus", "8")``."""

    def start(*words: str, config: str = "pretrain/tiny") -> Done:
        return run("-p", "pydoc", "-t", config, "plan", *words, cwd=tmp_path)

    return start


def test_a_config_is_planned_as_it_is(plan: Run) -> None:
    done = plan()
    assert (done.code, done.errors) == (0, "")
    assert done.out.startswith("pretrain/tiny: llama of 1.9M parameters, all trained\nlayout: one process on cuda")
    assert "run: 200 steps" in done.out


def test_a_value_that_check_refuses_is_not_planned(plan: Run) -> None:
    done = plan("trainer.per_device_train_batch_size=0")
    assert (done.code, done.out) == (2, "")
    assert "trainer.per_device_train_batch_size: 0 is below 1" in done.errors


def test_a_layout_on_so_many_processes(plan: Run) -> None:
    done = plan(
        "model=llama3_8b", "parallel=fsdp_tp", "--gpus", "8", "--per-node", "4", "--seq", "1024", "--tokens", "100M"
    )
    assert done.code == 0
    assert "layout: 8 processes on cuda, dp_shard=4 x tp=2, zero stage 3" in done.out
    assert "between nodes" in done.out
    assert "8 rows x 1,024 tokens" in done.out
    assert "epochs of 3,052 steps" in done.out


def test_json(plan: Run) -> None:
    data = json.loads(plan("parallel=ddp", "--gpus", "4", "--json").out)
    assert (data["ranks"], data["layout"]["dp_replicate"], data["legal"]) == (4, 4, True)
    assert data["memory"][0]["peak"] == data["peak"]


def test_a_layout_that_the_model_does_not_allow(plan: Run) -> None:
    done = plan("parallel=tp")
    assert done.code == 2
    assert (
        "cannot be: tp=2 does not divide 5 heads: each process has whole heads\n"
        "  possible:\n    parallel.dp_replicate=2 " in done.out
    )


def test_a_layout_that_is_none(plan: Run) -> None:
    done = plan("parallel=pp_1f1b", "parallel.microbatches=1")
    assert done.code == 2
    assert "parallel: 1 microbatches leave a pipeline of 2 idle" in done.errors


def test_a_number_of_processes_that_does_not_fit(plan: Run) -> None:
    done = plan("parallel=ddp", "parallel.dp_replicate=2", "--gpus", "3")
    assert done.code == 2
    assert "does not fit 3 processes" in done.errors
    assert "  possible:\n    parallel.dp_replicate=3\n" in done.errors


def test_what_fits(plan: Run) -> None:
    done = plan("model=llama3_8b", "--fit", "40GB", "--gpus", "4", "--link", "20GB")
    assert done.code == 0
    assert "layouts fit 4 processes of 40.0 GB, the quickest first" in done.out
    line = done.out.splitlines()[3].split(maxsplit=4)
    again = plan("model=llama3_8b", *line[4].split(), "--gpus", "4", "--json")
    assert again.code == 0
    assert json.loads(again.out)["peak"] <= 40e9
    assert json.loads(plan("model=llama3_8b", "--fit", "40GB", "--gpus", "4", "--json").out)[0]["peak"] <= 40e9


def test_what_fits_nowhere(plan: Run) -> None:
    done = plan("model=llama3_8b", "--fit", "2GB")
    assert done.code == 1
    assert "no layout fits one process of 2.0 GB" in done.out


def test_a_picture(plan: Run, tmp_path: Path) -> None:
    done = plan("model=llama3_8b", "parallel=pp_zbv", "--svg", "plan.svg")
    assert done.code == 0
    assert (tmp_path / "plan.svg").read_text().startswith("<svg")


def test_a_folder_that_is_not_there_is_named(plan: Run) -> None:
    done = plan(config="chat/full")
    assert done.code == 2
    assert (
        "config.json, which is not there; give another folder with -M FOLDER, or name a published size" in done.errors
    )


def test_a_folder_of_a_model(plan: Run, tmp_path: Path) -> None:
    sizes = {"model_type": "qwen2", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    (tmp_path / "config.json").write_text(json.dumps({**sizes, "intermediate_size": 96, "vocab_size": 128}))
    done = plan("-M", str(tmp_path), config="chat/lora")
    assert done.code == 0
    assert "chat/lora: qwen2 of" in done.out
    assert "trained in an adapter" in done.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--fit", "much"], "--fit: 'much' is not a size"),
        (["--tokens", "0"], "--tokens: '0' is no amount"),
        (["--gpus", "0"], "--gpus is at least 1, not 0"),
        (["--fit", "24GB", "--link", "fast"], "--link: 'fast' is not a size"),
        (["optimizer._target_=my.Lion"], "nothing is known of the memory of my.Lion"),
    ],
)
def test_mistakes_are_named(plan: Run, words: list[str], message: str) -> None:
    done = plan(*words)
    assert done.code == 2
    assert message in done.errors
    assert len(done.errors.splitlines()) <= 3


def test_a_config_that_describes_no_run(run: Run) -> None:
    done = run("plan")
    assert done.code == 2
    assert "tiny cannot be planned: nothing is known of the sizes of a model" in done.errors
