"""A run that is changed while it goes on: what every process then goes by, what it answers, and what a checkpoint keeps."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

from forge.control.settings import SET_FILE, SetAnswer, ask_to_set, set_answer  # noqa: E402 - torch may be missing
from forge.ml.checkpoint.state import read_state  # noqa: E402 - as above
from forge.ml.train.callback import Callback  # noqa: E402 - as above
from forge.ml.train.changes import RunChanges, refusal  # noqa: E402 - as above

if TYPE_CHECKING:
    from collections.abc import Callable

    from forge.ml.train.run import Run

    Carried = Callable[..., Run]

CONSTANT = ("schedule=constant", "schedule.warmup_ratio=0", "trainer.async_save=false")
ROOT = Path(__file__).parents[3]


class SetAt(Callback):
    """Asks in the middle of steps for values, and sees the rates and settings that each step is taken with."""

    def __init__(self, asked: dict[int, dict[str, Any]] | None = None) -> None:
        self.asked = asked or {}
        self.tokens: list[str] = []
        self.rates: dict[int, float] = {}
        self.told: dict[int, float] = {}

    def before_step(self, run: Run) -> None:
        if run.step + 1 in self.asked:
            self.tokens.append(ask_to_set(run.folder, self.asked[run.step + 1]))

    def before_update(self, run: Run, loss: float, grad_norm: float | None) -> bool:  # noqa: ARG002 - what a callback is given
        self.rates[run.step + 1] = run.optimizer.param_groups[0]["lr"]
        return True

    def after_step(self, run: Run, record: dict[str, Any]) -> None:
        self.told[run.step] = record["lr"]

    def answers(self, run: Run) -> list[SetAnswer]:
        found = [set_answer(run.folder, token) for token in self.tokens]
        assert None not in found
        return found


def written(run: Run) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(run.folder, "metrics.jsonl").read_text().splitlines()]


def test_the_rate_of_the_next_step_is_scaled_and_told(carried: Carried) -> None:
    ask = SetAt({1: {"lr_scale": 0.5}, 3: {"lr_scale": 2}})
    run = carried(*CONSTANT, callbacks=(ask,))
    assert ask.rates == ask.told == {1: 0.01, 2: 0.005, 3: 0.005, 4: 0.02}
    assert [(answer.step, answer.changed) for answer in ask.answers(run)] == [
        (1, {"lr_scale": (1.0, 0.5)}),
        (3, {"lr_scale": (0.5, 2)}),
    ]
    assert run.optimizer.param_groups[0]["lr"] == 0.01  # the schedule never sees it
    events = [line for line in written(run) if line.get("event") == "set"]
    assert [(one["step"], one["changed"]) for one in events] == [
        (1, {"lr_scale": [1.0, 0.5]}),
        (3, {"lr_scale": [0.5, 2]}),
    ]
    assert not os.path.exists(os.path.join(run.folder, SET_FILE))


def test_figures_and_checkpoints_come_at_other_steps(carried: Carried) -> None:
    ask = SetAt({1: {"logging_steps": 3, "save_steps": 3}})
    run = carried(*CONSTANT, "trainer.logging_steps=1", callbacks=(ask,))
    assert [line["step"] for line in written(run) if "loss" in line] == [1, 3, 4]
    assert run.counts.saved_step == 4
    names = {path.name for path in Path(run.settings.output_dir, "checkpoints").glob("checkpoint-*")}
    assert names == {"checkpoint-3", "checkpoint-4"}
    assert ask.answers(run)[0].changed == {"logging_steps": (1, 3), "save_steps": (1000, 3)}


def test_what_cannot_be_changes_nothing_and_the_run_goes_on(carried: Carried) -> None:
    ask = SetAt({1: {"lr_scale": 0.5, "max_steps": 9}, 2: {"eval_steps": 2}, 3: {"lr_scale": -1}})
    run = carried(*CONSTANT, callbacks=(ask,))
    assert run.step == 4
    assert set(ask.rates.values()) == {0.01}
    first, second, third = ask.answers(run)
    assert first.error.startswith("max_steps cannot change while a run goes on; lr_scale")
    assert second.error == "the run's eval_strategy is no, so eval_steps means nothing to it"
    assert third.error.startswith("lr_scale is a factor above 0")
    assert not [line for line in written(run) if "event" in line]


def test_who_asks_too_late_is_told(carried: Carried) -> None:
    class Late(SetAt):
        def after_step(self, run: Run, record: dict[str, Any]) -> None:  # noqa: ARG002 - what a callback is given
            if run.step == 4:
                self.tokens.append(ask_to_set(run.folder, {"lr_scale": 0.5}))

    ask = Late()
    run = carried(*CONSTANT, callbacks=(ask,))
    assert [answer.error for answer in ask.answers(run)] == ["the run has ended"]


@pytest.mark.parametrize("text", ["", "[1]", "nonsense", "[" * 2_000_000], ids=["empty", "number", "text", "large"])
def test_a_file_that_asks_for_nothing_is_told(made: Carried, capsys: pytest.CaptureFixture[str], text: str) -> None:
    run = made()
    Path(run.folder, SET_FILE).write_text(text)
    run.changes.take(run)
    assert not run.changes.asked
    assert "asks for nothing that can be understood" in capsys.readouterr().err
    assert not os.path.exists(os.path.join(run.folder, SET_FILE))


def test_a_request_that_comes_again_with_its_neighbour_counts_once(made: Carried) -> None:
    run = made()
    token = ask_to_set(run.folder, {"lr_scale": 0.5})
    before = Path(run.folder, SET_FILE).read_text()
    run.changes.take(run)
    Path(run.folder, SET_FILE).write_text(before)
    ask_to_set(run.folder, {"save_steps": 7})
    run.changes.take(run)
    run.changes.settle(run)
    assert (run.changes.lr_scale, run.settings.save_steps) == (0.5, 7)
    assert set_answer(run.folder, token).changed == {"lr_scale": (1.0, 0.5)}
    assert len(json.loads(Path(run.folder, "settings.json").read_text())) == 2


def test_what_is_refused_says_why(made: Carried) -> None:
    run = made()
    assert refusal(run, "lr_scale", 0.5) == ""
    assert refusal(run, "save_steps", 5) == ""
    assert "cannot change" in refusal(run, "seed", 5)
    run.evaluations = {}
    assert "no held-out data" in refusal(run, "eval_steps", 5)


def test_a_resumed_run_goes_on_as_changed(carried: Carried) -> None:
    ask = SetAt({1: {"lr_scale": 0.5, "save_steps": 2}})
    first = carried(*CONSTANT, callbacks=(ask,))
    kept = read_state(os.path.join(first.settings.output_dir, "checkpoints", "checkpoint-4"))["changes"]
    assert kept == {"lr_scale": 0.5, "settings": {"save_steps": [1000, 2]}}
    again = SetAt()
    resume = ("trainer.resume_from_checkpoint=auto", "trainer.max_steps=6")
    run = carried(*CONSTANT, *resume, callbacks=(again,))
    assert again.rates == {5: 0.005, 6: 0.005}
    assert (run.changes.lr_scale, run.settings.save_steps) == (0.5, 2)


def test_what_the_config_says_otherwise_than_then_it_says(made: Carried) -> None:
    run = made("trainer.save_steps=50")
    state = {"lr_scale": 1.0, "settings": {"save_steps": [1000, 2], "logging_steps": [run.settings.logging_steps, 3]}}
    run.changes.load(run, state)
    assert (run.settings.save_steps, run.settings.logging_steps, run.progress.logging_steps) == (50, 3, 3)


def test_without_a_change_nothing_is_touched() -> None:
    class Untouched:
        @property
        def param_groups(self) -> Any:
            raise AssertionError

    with RunChanges().rates(Untouched()):
        pass


@pytest.mark.slow
def test_two_processes_change_after_the_same_step(freeze: Callable[..., str], tmp_path: Path) -> None:
    folder = freeze(*CONSTANT, "trainer.per_device_train_batch_size=1", "parallel=ddp", "parallel.dp_replicate=2")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*command, str(Path(__file__).with_name("set_process.py")), folder],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    seen = [json.loads(Path(folder, f"seen-{rank}.json").read_text()) for rank in range(2)]
    assert seen[0] == seen[1] == [[0.01, 0.01, 0.0025, 0.0025], [1000, 1000, 3, 3]]
    (answer,) = json.loads(Path(folder, "settings.json").read_text())
    assert (answer["step"], answer["error"]) == (2, "")
