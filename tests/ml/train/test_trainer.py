"""What a trainer refuses."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import pytest

from forge.ml.optim.schedule import linear

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
trainer = pytest.importorskip("forge.ml.train.trainer")


def _trainer(**changed: Any) -> Any:
    parts = {
        "model": torch.nn.Linear(4, 4),
        "tokenizer": None,
        "dataset": None,
        "optimizer": partial(torch.optim.AdamW, lr=1.0, weight_decay=0.1),
        "schedule": partial(linear, warmup_steps=4),
        "max_steps": 10,
    }
    return trainer.Trainer(**{**parts, **changed})


def test_nothing_is_bound_when_a_trainer_is_made() -> None:
    run = _trainer()
    assert isinstance(run.optimizer, partial)
    assert isinstance(run.schedule, partial)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"max_steps": 0}, "max_steps is at least 1, or -1"),
        ({"output_dir": ""}, "output_dir is the path of a folder, not an empty text"),
        (
            {"resume_from_checkpoint": ""},
            "resume_from_checkpoint is auto or the path of a checkpoint, not an empty text",
        ),
        ({"num_train_epochs": math.inf}, "num_train_epochs is a number above 0, not inf"),
        ({"num_train_epochs": 0}, "num_train_epochs is a number above 0"),
        ({"per_device_train_batch_size": 0}, "per_device_train_batch_size is at least 1"),
        ({"gradient_accumulation_steps": 0}, "gradient_accumulation_steps is at least 1"),
        ({"save_total_limit": 0}, "save_total_limit is at least 1"),
        ({"max_grad_norm": 0.0}, "null for no clipping"),
        ({"eval_strategy": "sometimes"}, "eval_strategy is no, steps or epoch"),
        ({"eval_strategy": "steps"}, "eval_steps has to say how many"),
        ({"save_strategy": "steps", "save_steps": None}, "save_steps has to say how many"),
        ({"mixed_precision": "int8"}, "auto, no, bf16 or fp16"),
        ({"torch_compile": "yes"}, "torch_compile is auto, True or False"),
        ({"on_save_error": "ignore"}, "on_save_error is fail or warn"),
        ({"max_grad_value": 0.0}, "max_grad_value is a number above 0"),
        ({"hang_seconds": 0.0}, "hang_seconds is a number above 0, or null to wait for ever"),
        ({"first_step_seconds": -1.0}, "first_step_seconds is a number above 0, or null to wait for ever"),
        ({"fuse_optim_with_backward": True}, "set max_grad_norm to null"),
        (
            {"fuse_optim_with_backward": True, "max_grad_norm": None, "gradient_accumulation_steps": 2},
            "set gradient_accumulation_steps to 1",
        ),
    ],
)
def test_a_run_that_makes_no_sense_is_refused_with_the_reason(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _trainer(**wrong)
