"""Where a run begins, and what is refused before anything is lost."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import pytest

pytestmark = pytest.mark.torch
pytest.importorskip("torch")

from small_run import Interrupt, carry_out  # noqa: E402 - torch may be missing

from forge.base.errors import CheckpointError, ResumeError  # noqa: E402 - as above
from forge.ml.checkpoint.store import Store  # noqa: E402 - as above
from forge.ml.evaluate.subject import evaluate_config  # noqa: E402 - as above
from forge.ml.train.setup import set_up  # noqa: E402 - as above
from forge.ml.train.stopping import Stopping  # noqa: E402 - as above

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from forge.ml.train.run import Run

    Carried = Callable[..., Run]

AGAIN = "trainer.resume_from_checkpoint=auto"
EACH = "trainer.save_steps=1"


@pytest.fixture
def checkpoints(tmp_path: Path) -> Path:
    return tmp_path / "out" / "checkpoints"


def damage(folder: Path) -> None:
    path = folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)


def steps(folder: Path) -> list[int]:
    return [one.step for one in Store(folder).list()]


def test_auto_without_checkpoints_begins_from_nothing_and_says_so(
    carried: Carried, checkpoints: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = carried(AGAIN)
    assert run.step == 4
    said = capsys.readouterr().err
    assert "there is no checkpoint in" in said
    assert "beginning from nothing" in said
    assert steps(checkpoints) == [4]


def test_auto_takes_the_newest(carried: Carried, capsys: pytest.CaptureFixture[str], checkpoints: Path) -> None:
    carried(EACH, callbacks=(Interrupt(3, "after"),))
    capsys.readouterr()
    assert carried(EACH, AGAIN).step == 4
    assert f"continuing from {checkpoints}/checkpoint-3\n" in capsys.readouterr().err
    assert steps(checkpoints) == [1, 2, 3, 4]


def test_auto_falls_back_from_a_damaged_one_and_says_which_and_why(
    carried: Carried, made: Callable[..., Run], capsys: pytest.CaptureFixture[str], checkpoints: Path
) -> None:
    carried(EACH)
    damage(checkpoints / "checkpoint-4")
    capsys.readouterr()
    run = made(EACH, AGAIN)
    assert run.step == 3
    said = capsys.readouterr().err
    assert "checkpoint-4 is skipped: " in said
    assert "model.safetensors" in said
    assert f"continuing from {checkpoints}/checkpoint-3" in said


def test_none_that_is_whole_is_refused(carried: Carried, refused: Callable[..., str], checkpoints: Path) -> None:
    carried("trainer.save_steps=2")
    for step in (2, 4):
        damage(checkpoints / f"checkpoint-{step}")
    message = refused(AGAIN)
    assert "none of the 2 checkpoints" in message
    assert "model.safetensors" in message
    assert "name a checkpoint that is whole" in message
    assert steps(checkpoints) == [2, 4]


def test_a_path_that_is_no_checkpoint_is_refused(refused: Callable[..., str], tmp_path: Path) -> None:
    message = refused(f"trainer.resume_from_checkpoint={tmp_path}")
    assert str(tmp_path) in message
    assert "manifest.json" in message
    assert "forge ckpt ls" in message
    (tmp_path / "above" / "checkpoints" / "checkpoint-1").mkdir(parents=True)
    for folder in ("above", "above/checkpoints"):
        message = refused(f"trainer.resume_from_checkpoint={tmp_path}/{folder}")
        assert "it holds checkpoints, and is none" in message
        assert f"{tmp_path}/above/checkpoints/checkpoint-1" in message
    assert "nowhere" in refused(f"trainer.resume_from_checkpoint={tmp_path}/nowhere")


def test_a_named_checkpoint_that_is_damaged_is_refused(
    carried: Carried, refused: Callable[..., str], checkpoints: Path
) -> None:
    carried("trainer.save_steps=2")
    damage(checkpoints / "checkpoint-4")
    message = refused(f"trainer.resume_from_checkpoint={checkpoints}/checkpoint-4")
    assert "checkpoint-4 cannot be used" in message


def test_a_run_that_has_nothing_left_to_do_says_so(
    carried: Carried, made: Callable[..., Run], capsys: pytest.CaptureFixture[str]
) -> None:
    carried(EACH)
    assert "nothing is left to train" not in capsys.readouterr().err
    made("trainer.max_steps=2", AGAIN)
    assert "nothing is left to train: the checkpoint is at step " in capsys.readouterr().err


def test_a_named_checkpoint_may_be_an_older_one(made: Callable[..., Run], carried: Carried, checkpoints: Path) -> None:
    carried(EACH)
    assert made(f"trainer.resume_from_checkpoint={checkpoints}/checkpoint-2").step == 2


def test_a_checkpoint_of_another_folder_begins_a_new_one(carried: Carried, checkpoints: Path, tmp_path: Path) -> None:
    carried("trainer.save_steps=2", callbacks=(Interrupt(2, "after"),))
    other = f"trainer.output_dir={tmp_path}/other"
    run = carried(other, f"trainer.resume_from_checkpoint={checkpoints}/checkpoint-2")
    assert run.step == 4
    assert steps(tmp_path / "other" / "checkpoints") == [4]


def test_a_checkpoint_of_another_folder_does_not_get_among_those_of_this_one(
    carried: Carried, freeze: Callable[..., str], checkpoints: Path, tmp_path: Path
) -> None:
    carried(callbacks=(Interrupt(2, "after"),))
    other = f"trainer.output_dir={tmp_path}/other"
    carried(other)
    with pytest.raises(ResumeError, match="holds checkpoints up to step 4 already"):
        set_up(freeze(other, f"trainer.resume_from_checkpoint={checkpoints}/checkpoint-2"), Stopping())


def test_checkpoints_of_an_earlier_run_are_neither_mixed_nor_lost(
    carried: Carried, refused: Callable[..., str], checkpoints: Path
) -> None:
    carried("trainer.save_steps=2")
    message = refused()
    assert "holds checkpoints up to step 4 already" in message
    for flag in ("--resume-from-checkpoint auto", "--output-dir", "--overwrite-output-dir"):
        assert flag in message
    assert steps(checkpoints) == [2, 4]


def test_a_run_that_saves_nothing_leaves_them_as_they_are_and_says_so(
    carried: Carried, checkpoints: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    carried("trainer.save_steps=2")
    capsys.readouterr()
    for more in ((), ("trainer.overwrite_output_dir=true",)):  # which would leave nothing in their place
        assert carried("trainer.save_strategy=no", *more).step == 4
        said = "holds checkpoints up to step 4 of another run: they stay, for this run saves none"
        assert said in capsys.readouterr().err
        assert steps(checkpoints) == [2, 4]


def test_they_are_removed_when_that_is_asked_for(carried: Carried, checkpoints: Path) -> None:
    carried(EACH)
    run = carried("trainer.overwrite_output_dir=true")
    assert run.step == 4
    assert steps(checkpoints) == [4]


def test_they_are_not_removed_by_a_run_that_cannot_begin(
    carried: Carried, refused: Callable[..., str], checkpoints: Path, tmp_path: Path
) -> None:
    carried(EACH)
    (tmp_path / "empty.txt").touch()
    overwrite = "trainer.overwrite_output_dir=true"
    refused(overwrite, "dataset.max_length=33")
    refused(overwrite, f"dataset.held_out.paths=[{tmp_path}/empty.txt]")
    refused(overwrite, "trainer.mixed_precision=fp16")
    assert steps(checkpoints) == [1, 2, 3, 4]


def test_a_second_process_is_refused_at_once(
    freeze: Callable[..., str], checkpoints: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any, **__: Any) -> Any:
        raise AssertionError("the data was prepared before the folder was asked for")

    monkeypatch.setattr("forge.ml.train.setup.feed", never)
    writer = Store(checkpoints)
    writer.claim()
    try:
        with pytest.raises(CheckpointError, match="is being written to by process"):
            set_up(freeze(), Stopping())
        with pytest.raises(CheckpointError, match="is being written to by process"):
            set_up(freeze(AGAIN), Stopping())
    finally:
        writer.release()


def test_a_run_that_was_refused_leaves_the_folder_to_others(freeze: Callable[..., str], refused: Any) -> None:
    refused("dataset.max_length=33")
    assert carry_out(freeze()).step == 4


def test_what_has_changed_since_is_told(
    carried: Carried, made: Callable[..., Run], capsys: pytest.CaptureFixture[str]
) -> None:
    carried(callbacks=(Interrupt(2, "after"),))
    capsys.readouterr()
    made(AGAIN, "optimizer.lr=0.002", "trainer.max_steps=9", "trainer.logging_steps=1")
    said = capsys.readouterr().err
    assert "changed since: optimizer.lr: 0.01 -> 0.002" in said
    assert "changed since: trainer.max_steps: 4 -> 9" in said
    assert "resume_from_checkpoint" not in said
    assert "output_dir" not in said


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        (("model.config.n_layer=3",), "model.config.n_layer: 2 -> 3"),
        (("model.config.n_embd=64", "model.config.n_head=4"), "model.config.n_embd: 32 -> 64"),
        (("tokenizer.vocab_size=290",), "tokenizer.vocab_size: 300 -> 290"),
        (("+adapter@model.adapter=lora",), "model.adapter"),
        (("optimizer=sgd",), "optimizer: torch.optim.AdamW -> torch.optim.SGD"),
        (("dataset.max_length=24",), "max_length"),
        (("dataset.train.paths=[FOLDER/text/1*.txt]",), "rows"),
        (("trainer.seed=7",), "seed"),
    ],
)
def test_what_cannot_be_gone_on_from_is_refused_and_named(
    carried: Carried, refused: Callable[..., str], project: Path, changes: tuple[str, ...], named: str
) -> None:
    carried(callbacks=(Interrupt(2, "after"),))
    message = refused(AGAIN, *[change.replace("FOLDER", str(project)) for change in changes])
    assert named in message
    assert len(message.splitlines()) == 2  # what to do


def test_a_checkpoint_without_a_graph_is_refused(
    carried: Carried, refused: Callable[..., str], checkpoints: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("forge.ml.train.saving._GRAPH", "state/other.json")  # as in one that another program has saved
    carried("trainer.max_steps=2")
    said = refused(f"trainer.resume_from_checkpoint={checkpoints / 'checkpoint-2'}")
    assert "was not saved by a run: it has no state/graph.json" in said


def test_an_adapter_cannot_become_another_one(carried: Carried, refused: Callable[..., str]) -> None:
    lora = ("+adapter@model.adapter=lora", "+model.adapter.fan_in_fan_out=true")
    carried(*lora, callbacks=(Interrupt(2, "after"),))
    assert "model.adapter.r: 16 -> 8" in refused(AGAIN, *lora, "model.adapter.r=8")
    assert carried(AGAIN, *lora).step == 4


def test_an_adapter_does_not_go_on_upon_other_weights(
    carried: Carried, refused: Callable[..., str], freeze: Callable[..., str], project: Path, tmp_path: Path
) -> None:
    shutil.copytree(project / "model", tmp_path / "base")
    lora = ["~model.config", "+adapter@model.adapter=lora", "+model.adapter.fan_in_fan_out=true"]
    carried(*lora, f"+model.path={tmp_path}/base", callbacks=(Interrupt(2, "after"),))
    shutil.copytree(tmp_path / "base", tmp_path / "moved")
    content = bytearray((tmp_path / "base" / "model.safetensors").read_bytes())
    content[-4000:] = bytes(4000)
    (tmp_path / "base" / "model.safetensors").write_bytes(content)
    message = refused(AGAIN, *lora, f"+model.path={tmp_path}/base")
    assert f"the weights in {tmp_path}/base are not those that the adapter was trained on" in message
    with pytest.raises(ResumeError, match="are not those that the adapter was trained on") as caught:
        evaluate_config(freeze(*lora, f"+model.path={tmp_path}/base"), say=lambda _: None)
    assert "-M" in str(caught.value.hint)
    assert carried(AGAIN, *lora, f"+model.path={tmp_path}/moved").step == 4


def test_all_weights_go_on_whatever_they_were_read_from(carried: Carried, project: Path, tmp_path: Path) -> None:
    shutil.copytree(project / "model", tmp_path / "base")
    whole = ("~model.config", f"+model.path={tmp_path}/base")
    carried(*whole, callbacks=(Interrupt(2, "after"),))
    content = bytearray((tmp_path / "base" / "model.safetensors").read_bytes())
    content[-4000:] = bytes(4000)
    (tmp_path / "base" / "model.safetensors").write_bytes(content)
    assert carried(AGAIN, *whole).step == 4
