from __future__ import annotations

import pytest

import forge
from forge.plan.findings import layout_findings, limit_findings


def findings(*changes: str) -> list[str]:
    config = forge.open("pydoc").config("pretrain/tiny", *changes)
    return [str(finding) for finding in layout_findings(config.graph, config.main)]


@pytest.mark.parametrize(
    ("changes", "place", "message"),
    [
        (["parallel=tp"], "configs/parallel/tp.yaml:4: parallel.tp", "tp=2 does not divide 5 heads"),
        (["parallel=pp_1f1b", "parallel.microbatches=1"], "parallel: ", "needs 2 or more"),
        (
            ["parallel=pp_1f1b", "trainer.per_device_train_batch_size=6"],
            "pp_1f1b.yaml:6: parallel.microbatches",
            "6 rows",
        ),
        (["parallel.sequence_parallel=true"], "parallel: ", "set tp above 1"),
        (["parallel=cp", "dataset.max_length=255"], "configs/parallel/cp.yaml:4: parallel.cp", "255 tokens"),
        (
            ["parallel=ddp", "parallel.dp_replicate=3", "launch.nproc_per_node=2"],
            "parallel: ",
            "does not fit 2 processes",
        ),
        (
            ["parallel=pp_i1f1b", "parallel.pp=4"],
            "parallel.pp: 4 layers do not make 8 stages",
            "possible:\n    parallel.pp=2",
        ),
        (
            ["parallel=fsdp", "optimizer=adafactor", "launch.nproc_per_node=2"],
            "pretrain/tiny.yaml:",
            "optimizer: Adafactor does not go with this layout",
        ),
        (["launch=ssh", "launch.nodes=1", "launch.hosts=['a:2']"], "parallel: ", "does not fit 2 processes"),
        (["dataset.max_length=2000"], "override 'dataset.max_length=2000': ", "longer than the 1,024 positions"),
        (
            ["model.fp8=rowwise", "model.adapter={_target_: peft.LoraConfig}"],
            "override 'model.fp8=rowwise': model.fp8: ",
            "fp8 does not go with an adapter",
        ),
        (
            ["trainer.fuse_optim_with_backward=true", "trainer.gradient_accumulation_steps=2"],
            "trainer.fuse_optim_with_backward: ",
            "does not go with accumulated batches",
        ),
        (["trainer.fuse_optim_with_backward=true"], "trainer.fuse_optim_with_backward: ", "trainer.max_grad_norm=null"),
        (
            ["parallel=fsdp", "optimizer=adafactor"],
            "optimizer: ",
            "Adafactor does not go with this layout",
        ),
    ],
)
def test_each_stands_at_the_value_that_it_hangs_on(changes: list[str], place: str, message: str) -> None:
    found = findings(*changes)
    assert any(place in text and message in text for text in found), found


@pytest.mark.parametrize(
    "changes",
    [
        [],
        ["parallel=fsdp"],
        ["parallel=ddp"],
        ["parallel=pp_i1f1b"],
        ["model=gpt2", "parallel=hsdp"],
        ["trainer.fuse_optim_with_backward=true", "trainer.max_grad_norm=null"],
    ],
)
def test_what_is_possible_is_no_finding(changes: list[str]) -> None:
    assert findings(*changes) == []


def test_of_a_model_that_is_not_known_the_layout_alone_is_judged() -> None:
    assert findings("model=pretrained", "model.path=/nowhere", "~model.config", "parallel=tp") == []
    config = forge.open("pydoc").config("chat/full", "parallel=tp", "launch.nproc_per_node=3")
    assert "does not fit 3 processes" in str(layout_findings(config.graph, config.main)[0])


def test_a_number_of_the_trainer_that_no_run_can_have_is_found_where_it_is_written() -> None:
    changes = ("trainer.hang_seconds=-5", "trainer.eval_strategy=steps", "trainer.eval_steps=null")
    config = forge.open("pydoc").config("pretrain/tiny", *changes)
    assert [str(finding) for finding in limit_findings(config.graph, config.main)] == [
        "override 'trainer.hang_seconds=-5': trainer.hang_seconds: hang_seconds is a number above 0, or null to wait for ever, not -5",
        "override 'trainer.eval_steps=null': trainer.eval_steps: eval_strategy is steps: eval_steps has to say how many",
    ]
    assert {finding.key for finding in config.check()} >= {"trainer.hang_seconds", "trainer.eval_steps"}


def test_a_number_that_breaks_the_rule_of_a_flag_is_found_once() -> None:
    found = forge.open("pydoc").config("pretrain/tiny", "trainer.per_device_train_batch_size=0").check()
    assert [finding.key for finding in found] == ["trainer.per_device_train_batch_size"]


def test_numbers_of_somebody_elses_trainer_are_not_judged() -> None:
    config = forge.open("pydoc").config(
        "pretrain/tiny", "trainer._target_=my_package.Trainer", "trainer.hang_seconds=-5"
    )
    assert list(limit_findings(config.graph, config.main)) == []
