"""From a frozen config to a run; whatever is wrong with the config is one message, before any step."""

from __future__ import annotations

import json
import os
import random
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
numpy = pytest.importorskip("numpy")

from forge.ml.checkpoint.store import Store  # noqa: E402 - torch may be missing
from forge.ml.memory.fused import FusedBackward  # noqa: E402 - as above
from forge.ml.optim.rounding import StochasticRounding  # noqa: E402 - as above

if TYPE_CHECKING:
    from collections.abc import Callable

    from forge.ml.train.run import Run

    Refused = Callable[..., str]
    Make = Callable[..., Run]


def test_everything_is_there_and_no_step_taken(made: Make) -> None:
    run = made("trainer.gradient_accumulation_steps=3", "trainer.eval_strategy=steps")
    assert (run.step, run.epoch, run.total_steps) == (0, 0.0, 4)
    assert run.device == torch.device("cpu")
    assert all(not parameter.is_meta for parameter in run.model.parameters())
    assert run.model.training
    assert list(run.evaluations) == ["held_out"]
    assert run.fused is None
    assert len(run.loader.next()) == 3
    assert json.loads(run.graph)["forge_graph"] == 1
    assert run.stopping.folder == run.folder


def test_a_seed_means_the_same_weights_and_the_same_chances(made: Make) -> None:
    found = []
    for seed in (7, 7, 8):
        made("trainer.save_strategy=no", f"trainer.seed={seed}")
        found.append((random.random(), float(numpy.random.rand()), float(torch.rand(()))))
    assert found[0] == found[1]
    assert all(one != other for one, other in zip(found[0], found[2], strict=True))


def test_nothing_is_written_by_a_run_that_saves_nothing(made: Make, tmp_path: Path) -> None:
    run = made("trainer.save_strategy=no")
    assert run.saver.path is None
    assert not os.path.exists(run.saver.store.folder)
    assert not (tmp_path / "out").exists()


def test_the_settings_of_the_optimizer_reach_it(made: Make) -> None:
    quiet = "trainer.save_strategy=no"
    rounding = made(quiet, "trainer.stochastic_rounding=true", "trainer.seed=5").optimizer
    assert isinstance(rounding, StochasticRounding)
    assert rounding.state_dict()["rounding"]["seed"] == 5
    run = made(
        quiet,
        "trainer.fuse_optim_with_backward=true",
        "trainer.max_grad_norm=null",
        "trainer.gradient_accumulation_steps=1",
    )
    assert isinstance(run.fused, FusedBackward)
    run.fused.remove()


@pytest.mark.parametrize("kind", ["linear", "logits", "whole"])
def test_the_kind_of_the_loss_reaches_it(made: Make, kind: str) -> None:
    assert made("trainer.save_strategy=no", f"trainer.loss={kind}").loss.kind == kind


def test_rows_that_know_their_documents_need_no_padding(made: Make) -> None:
    quiet = "trainer.save_strategy=no"
    flat = made(quiet, "model.attn_implementation=auto")
    assert flat.loader.flat
    assert flat.loader.next()[0].input_ids.shape[0] == 1
    assert not made(quiet, "model.attn_implementation=sdpa").loader.flat


# ---- the model


def test_no_such_model_folder(refused: Refused, tmp_path: Path) -> None:
    message = refused("~model.config", f"+model.path={tmp_path}/nowhere")
    assert f"there is no model folder {tmp_path}/nowhere" in message
    assert "config.json and weights" in message


def test_a_model_folder_without_a_config(refused: Refused, project: Path, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    shutil.copy(project / "model" / "model.safetensors", tmp_path / "model")
    message = refused("~model.config", f"+model.path={tmp_path}/model")
    assert f"the folder {tmp_path}/model has no config.json" in message
    assert "choose the config of the model" in message, "there are weights"
    (tmp_path / "model" / "model.safetensors").unlink()
    assert "give the folder of a model" in refused("~model.config", f"+model.path={tmp_path}/model")


@pytest.mark.parametrize("content", ["{", "[]", '{"model_type": "no_such_model"}'])
def test_a_model_folder_with_a_config_that_is_none(
    refused: Refused, project: Path, tmp_path: Path, content: str
) -> None:
    shutil.copytree(project / "model", tmp_path / "model")
    (tmp_path / "model" / "config.json").write_text(content)
    assert "config.json" in refused("~model.config", f"+model.path={tmp_path}/model")


def test_a_model_folder_without_weights(refused: Refused, project: Path, tmp_path: Path) -> None:
    shutil.copytree(project / "model", tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").unlink()
    assert f"{tmp_path}/model" in refused("~model.config", f"+model.path={tmp_path}/model")


def test_weights_of_another_architecture(refused: Refused, project: Path) -> None:
    message = refused(f"+model.path={project}/model", "model.config.n_embd=64", "model.config.n_head=4")
    assert f"the folder {project}/model does not fit a GPT2LMHeadModel" in message


def test_a_tokenizer_with_more_tokens_than_embeddings(refused: Refused) -> None:
    message = refused("model.config.vocab_size=290")
    assert "vocabulary mismatch: the tokenizer has 300 tokens, and the model has embeddings for 290" in message


def test_sequences_longer_than_the_positions(refused: Refused) -> None:
    message = refused("dataset.max_length=33")
    assert "rows of 33 tokens are longer than the 32 positions that the model knows" in message
    assert "dataset.max_length=32" in message


LLAMA = (
    "~model.config",
    (
        "+model.config={_target_: transformers.LlamaConfig, vocab_size: 300, hidden_size: 32, num_hidden_layers: 2, "
        "intermediate_size: 64, num_attention_heads: 2, max_position_embeddings: 32}"
    ),
)


@pytest.mark.parametrize(
    ("name", "named"),
    [
        ("flash_attention_2", "FlashAttention2"),
        (
            "flex_attention",
            "attn_implementation flex_attention does not train on a CPU: torch has no backward pass of it there",
        ),
        ("no_such_attention", "attn_implementation"),
    ],
)
def test_an_attention_that_this_device_cannot_have(refused: Refused, name: str, named: str) -> None:
    assert named in refused(*LLAMA, f"model.attn_implementation={name}")


def test_an_attention_that_the_model_does_not_have(refused: Refused) -> None:
    message = refused("model.attn_implementation=flex_attention")
    assert "GPT2LMHeadModel does not support" in message
    assert "model.attn_implementation=auto" in message


def test_a_precision_that_this_device_cannot_have(refused: Refused) -> None:
    assert "fp16 does not train on a CPU: it is no quicker there than float32" in refused(
        "trainer.mixed_precision=fp16"
    )


# ---- the data


def test_no_such_file(refused: Refused, tmp_path: Path) -> None:
    assert f"{tmp_path}/nowhere.jsonl" in refused(f"dataset.train.paths=[{tmp_path}/nowhere.jsonl]", config="chat")


def test_no_row(refused: Refused, rows_file: Callable[..., str]) -> None:
    message = refused(rows_file(), config="chat")
    assert "empty" in message or "no row" in message


def test_a_template_that_fails_names_the_first_row(
    refused: Refused, rows_file: Callable[..., str], turn: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "bad.jinja").write_text("{{ messages[0]['content'] + 1 }}")
    message = refused(rows_file(turn(), turn()), f"dataset.template={tmp_path}/bad.jinja", config="chat")
    assert "2 of 2 rows not used" in message
    assert "the first is row 0" in message
    assert "rows.jsonl:1" in message


def test_a_template_that_fails_at_some_row_names_it_and_the_others_are_learned(
    made: Make,
    rows_file: Callable[..., str],
    turn: Callable[..., Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "picky.jinja").write_text(
        "{% for m in messages %}{% if m['content'] == 'no' %}{{ raise_exception('not this one') }}{% endif %}"
        "<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    )
    rows = rows_file(turn(), turn(), turn("no"), turn())
    made(rows, f"dataset.template={tmp_path}/picky.jinja", config="chat")
    said = capsys.readouterr().err
    assert "1 of 4 rows not used" in said
    assert "the first is row 2" in said
    assert "rows.jsonl:3" in said
    assert "not this one" in said


def test_a_template_that_does_not_parse(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "torn.jinja").write_text("{% for m in messages %}")
    message = refused(f"dataset.template={tmp_path}/torn.jinja", config="chat")
    assert "template" in message


def test_no_such_template(refused: Refused) -> None:
    message = refused("dataset.template=no_such_template", config="chat")
    assert "no_such_template" in message
    assert "chatml" in message


def test_columns_that_nobody_knows(refused: Refused, rows_file: Callable[..., str]) -> None:
    message = refused(rows_file({"left": "a", "right": "b"}), config="chat")
    assert "left" in message
    assert "right" in message


def test_a_format_that_nobody_knows(refused: Refused) -> None:
    assert "no_such_format" in refused("+dataset.format=no_such_format", config="chat")


def test_no_trained_token(refused: Refused, rows_file: Callable[..., str]) -> None:
    asked = {"messages": [{"role": "user", "content": "why"}]}
    message = refused(rows_file(asked, asked), config="chat")
    assert "the dataset has nothing to learn: 2 of 2 rows not used" in message


def test_an_answer_behind_the_end_of_every_sequence(
    refused: Refused, rows_file: Callable[..., str], turn: Callable[..., Any]
) -> None:
    message = refused(rows_file(turn("yes")), "dataset.max_length=4", config="chat")
    assert "nothing to learn" in message


def test_a_held_out_set_without_a_trained_token(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "blank.txt").write_text(" ")
    assert "held" in refused(f"dataset.held_out.paths=[{tmp_path}/blank.txt]")


def test_a_stream_without_a_number_of_steps(refused: Refused) -> None:
    message = refused("+dataset.train.streaming=true", "trainer.max_steps=-1", config="chat")
    assert "trainer.max_steps" in message


# ---- the folders


def test_an_output_folder_that_cannot_be_made(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for output in (f"{tmp_path}/file/out", "/dev/full/out"):
        message = refused(f"trainer.output_dir={output}")
        assert output.rpartition("/")[0] in message


def test_no_output_folder(refused: Refused) -> None:
    message = refused("trainer.output_dir=null")
    assert "no output folder" in message
    assert "trainer.output_dir" in message


def test_a_full_disk(refused: Refused, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("forge.ml.train.restore.free_space", lambda _: 100_000)
    message = refused()
    assert f"{tmp_path}/out/checkpoints has 100.0 kB of free space, and a checkpoint needs more than 1" in message
    assert "--output-dir" in message


def test_a_full_disk_is_no_matter_to_a_run_that_bears_it(made: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("forge.ml.train.restore.free_space", lambda _: 0)
    assert made("trainer.save_strategy=no").step == 0
    assert made("trainer.on_save_error=warn").step == 0


def test_a_run_that_is_refused_lets_go_of_its_folder(refused: Refused, tmp_path: Path) -> None:
    refused("trainer.mixed_precision=fp16")
    store = Store(tmp_path / "out" / "checkpoints")
    store.claim()
    store.release()


# ---- the frozen config


def test_no_run_folder(refused: Refused, tmp_path: Path) -> None:
    assert "graph.json" in refused(folder=str(tmp_path / "nowhere"))


@pytest.mark.parametrize("name", ["graph.json", "run.json"])
@pytest.mark.parametrize("damage", ["empty", "half", "binary", "list"])
def test_a_damaged_run_folder(freeze: Callable[..., str], refused: Refused, name: str, damage: str) -> None:
    folder = freeze()
    path = Path(folder, name)
    content = path.read_bytes()
    path.write_bytes(
        {"empty": b"", "half": content[: len(content) // 2], "binary": b"\xff\xfe\x00", "list": b"[]"}[damage]
    )
    assert name in refused(folder=folder)


def test_a_config_that_is_no_run(refused: Refused, freeze: Callable[..., str]) -> None:
    folder = freeze()
    facts = Path(folder, "run.json")
    facts.write_text(json.dumps({**json.loads(facts.read_text()), "main": "tokenizer"}))
    assert "a run is made by a Trainer" in refused(folder=folder)


def test_code_that_nobody_has_trusted(project: Path, refused: Refused) -> None:
    package = project / "src" / "smallish"
    package.mkdir(parents=True, exist_ok=True)
    (package / "__init__.py").write_text("from forge.ml.train.callback import Callback\n")
    try:
        message = refused("callback=none", "+callback.own._target_=smallish.Callback")
    finally:
        shutil.rmtree(project / "src")
    assert "trust" in message


def test_several_processes(refused: Refused) -> None:
    message = refused("parallel.dp_replicate=2")
    assert "dp_replicate=2 does not fit 1 processes" in message
    assert "start as many processes" in message


def test_an_argument_that_a_target_does_not_have(refused: Refused) -> None:
    message = refused("+model.no_such_argument=1")
    assert "no_such_argument" in message
    assert "while building" in message


def test_a_value_that_a_target_refuses(refused: Refused) -> None:
    message = refused("trainer.logging_steps=0")
    assert "logging_steps is at least 1, not 0" in message
    assert "while building trainer" in message


def test_a_warm_up_longer_than_the_run_is_told(made: Make, capfd: pytest.CaptureFixture[str]) -> None:
    made("schedule.warmup_steps=10", "trainer.save_strategy=no")
    assert "warning: the learning rate climbs to the last step" in " ".join(capfd.readouterr().err.split())
    made("schedule.warmup_steps=2", "trainer.save_strategy=no")
    assert "climbs" not in capfd.readouterr().err


def test_an_optimizer_that_cannot_be_made(refused: Refused) -> None:
    message = refused("optimizer.betas=0.9")
    assert "the optimizer cannot be made: 'float' object is not subscriptable" in message
    assert "below optimizer" in message


def test_a_warm_up_that_is_no_number_of_steps(refused: Refused) -> None:
    assert "warmup_steps is a number of steps, not -1" in refused("schedule.warmup_steps=-1")


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        (("trainer.dataset={_target_: forge.ml.data.read.text_files, paths: [FOLDER/text/*.txt]}",), "FileRows"),
        (("trainer.tokenizer={_target_: collections.OrderedDict}",), "OrderedDict"),
        (("trainer.model={_target_: torch.nn.Linear, in_features: 1, out_features: 1}",), "Linear"),
    ],
)
def test_a_part_of_another_kind(refused: Refused, project: Path, overrides: tuple[str, ...], named: str) -> None:
    message = refused(*[one.replace("FOLDER", str(project)) for one in overrides], config="chat")
    assert named in message
    assert "forge.ml." in message


def test_what_is_no_callback_is_refused(refused: Refused) -> None:
    message = refused("+callback.samples.max_new_tokens=8")  # the settings of one that is not there
    assert "among the callbacks of the run are settings (max_new_tokens) of one that is not there" in message
    assert "~callback.NAME" in message
    message = refused("+callback.linear={_target_: torch.nn.Linear, in_features: 1, out_features: 1}")
    assert "Linear(in_features=1, out_features=1, bias=True) is among the callbacks of the run and is none" in message


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            ("trainer.fuse_optim_with_backward=true", "trainer.max_grad_norm=null"),
            "fuse_optim_with_backward does not go with copies",
        ),
        (("optimizer=adafactor", "parallel=fsdp"), "Adafactor does not go with this layout"),
        (("adapter@model.adapter=dora",), "an adapter with use_dora=true does not go with several processes"),
        (("parallel=tp",), "gpt2 has no tensor-parallel plan"),
    ],
)
def test_several_processes_refuse_what_check_refuses(
    freeze: Callable[..., str], changes: tuple[str, ...], message: str
) -> None:
    from forge.base.errors import RunError
    from forge.build.frozen import thaw
    from forge.ml.parallel.world import World
    from forge.ml.train import setup

    layout = () if any(change.startswith("parallel=") for change in changes) else ("parallel=ddp",)
    frozen = thaw(freeze(*layout, *(change.replace("adapter@", "+adapter@") for change in changes)))
    with pytest.raises(RunError, match=message) as caught:
        setup._refuse(frozen, World(torch.device("cpu"), size=2))
    assert caught.value.key
    assert caught.value.hint.startswith("possible:\n  ")
