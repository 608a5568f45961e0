"""The model of a run in its place: what saves its memory reaches it, and none of it changes what is learned."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

from small_run import Interrupt  # noqa: E402 - torch may be missing

from forge.base.errors import DataError  # noqa: E402 - as above
from forge.ml.memory.blocks import blocks  # noqa: E402 - as above
from forge.ml.train import place  # noqa: E402 - as above

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from forge.ml.train.run import Run

    Make = Callable[..., Run]

QUIET = "trainer.save_strategy=no"


def test_the_device_is_the_gpu_when_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert place.choose_device().type == "cuda"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert place.choose_device().type == "cpu"


@pytest.mark.parametrize(("positions", "longest"), [(32, 32), (None, 10**9), (33, 32)])
def test_sequences_that_fit(positions: int | None, longest: int) -> None:
    config = SimpleNamespace() if positions is None else SimpleNamespace(max_position_embeddings=positions)
    settings: Any = SimpleNamespace(model=SimpleNamespace(config=config), dataset=SimpleNamespace(max_length=longest))
    place.check_length(settings)
    assert settings.dataset.max_length == longest


def test_sequences_that_do_not_fit() -> None:
    config = SimpleNamespace(max_position_embeddings=32)
    settings: Any = SimpleNamespace(model=SimpleNamespace(config=config), dataset=SimpleNamespace(max_length=2048))
    with pytest.raises(DataError, match="up to 2,048 tokens, and the model knows 32 positions") as caught:
        place.check_length(settings)
    assert "dataset.max_length=32" in caught.value.hint


def wrapped(run: Run) -> list[bool]:
    """Which layers have another forward than that of their class."""
    return ["forward" in vars(block) for block in blocks(run.model)]


def test_nothing_is_wrapped_unless_it_is_asked_for(made: Make, capsys: pytest.CaptureFixture[str]) -> None:
    run = made(QUIET)
    assert wrapped(run) == [False, False]
    assert run.model.training
    assert isinstance(run.memory(), contextlib.nullcontext)
    said = capsys.readouterr().err
    assert "model: 36,096 parameters, 36,096 trained, on cpu, attention sdpa" in said
    assert "layers are not compiled" in said
    assert "checkpointing" not in said


@pytest.mark.parametrize(
    ("how", "layers"),
    [("true", [True, True]), ("full", [True, True]), ("2", [False, True]), ("selective", [True, True])],
)
def test_checkpointed_layers(made: Make, capsys: pytest.CaptureFixture[str], how: str, layers: list[bool]) -> None:
    run = made(QUIET, f"trainer.gradient_checkpointing={how}")
    assert wrapped(run) == layers
    assert f"in {sum(layers)} layers" in capsys.readouterr().err


def test_offloaded_activations(made: Make, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from forge.ml.train.step import optimizer_step

    entered = []

    @contextlib.contextmanager
    def offload(model: Any) -> Any:
        entered.append(model)
        yield

    monkeypatch.setattr(place, "offload_activations", offload)
    run = made(QUIET, "trainer.enable_activation_offloading=true")
    assert "enable_activation_offloading" in capsys.readouterr().err
    optimizer_step(run, run.loader.next())
    assert entered == [run.model] * 2  # once for each batch


@pytest.mark.parametrize(("how", "compiled"), [("true", True), ("false", False), ("auto", False)])
def test_compiled_layers(
    made: Make, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], how: str, compiled: object
) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(place, "compile_blocks", seen.append)
    run = made(QUIET, f"trainer.torch_compile={how}", "trainer.gradient_checkpointing=true")
    assert (seen == [run.model]) is compiled
    said = capsys.readouterr().err
    assert ("layers are compiled" in said) is compiled
    if compiled:  # what is compiled is the checkpointed layer
        assert said.index("gradient checkpointing") < said.index("layers are compiled")


def test_the_choice_is_made_for_the_length_of_the_run(made: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def choose(how: Any, device: Any, **facts: Any) -> Any:
        asked.update(facts, how=how, device=device)
        return SimpleNamespace(compiled=False, described="")

    monkeypatch.setattr(place, "choose_compile", choose)
    made(QUIET, "trainer.torch_compile=auto", "trainer.max_steps=7")
    # 57 sequences have 1,799 tokens, and a step takes four.
    assert asked == {
        "how": "auto",
        "device": torch.device("cpu"),
        "steps": 7,
        "parameters": 36_096,
        "tokens": round(4 * 1799 / 57),
    }


def test_no_cache_is_made_while_training_and_the_saved_model_may_have_one(made: Make) -> None:
    from forge.ml.models.save import config_files

    run = made(QUIET)
    given: list[Any] = []
    run.model.transformer.register_forward_pre_hook(lambda *call: given.append(call[2]), with_kwargs=True)
    batch = run.loader.next()[0]
    run.loss.total(batch)
    assert [kwargs["use_cache"] for kwargs in given] == [False]
    saved = config_files(run.model)["config.json"].decode()
    assert '"use_cache": false' not in saved


def test_every_setting_that_saves_memory_gives_the_same_losses(carried: Make, records: Callable[..., Any]) -> None:
    found = {}
    every = ("trainer.logging_steps=1", QUIET, "trainer.max_grad_norm=null", "trainer.gradient_accumulation_steps=1")
    for settings in (
        (),
        ("trainer.gradient_checkpointing=full",),
        ("trainer.gradient_checkpointing=selective",),
        ("trainer.enable_activation_offloading=true",),
        ("trainer.fuse_optim_with_backward=true",),
        (
            "trainer.gradient_checkpointing=2",
            "trainer.enable_activation_offloading=true",
            "trainer.fuse_optim_with_backward=true",
        ),
    ):
        found[settings] = [one["loss"] for one in records(carried(*every, *settings))]
    plain = found.pop(())
    assert len(set(plain)) == 4
    assert [settings for settings, losses in found.items() if losses != pytest.approx(plain, abs=1e-6)] == []


def test_a_resumed_model_has_the_weights_of_the_checkpoint(made: Make, carried: Make, project: Path) -> None:
    path = f"+model.path={project}/model"
    first = carried(path, callbacks=(Interrupt(2, "after"),))
    again = made(path, "trainer.resume_from_checkpoint=auto", "trainer.save_strategy=no")
    fresh = made(path, "trainer.save_strategy=no", "trainer.overwrite_output_dir=true").model.state_dict()
    assert again.model.training  # as read from a folder it is not
    trained, resumed = first.model.state_dict(), again.model.state_dict()
    assert all(torch.equal(resumed[name], tensor) for name, tensor in trained.items())
    assert not all(torch.equal(fresh[name], tensor) for name, tensor in trained.items())


def test_only_an_adapter_is_trained_when_there_is_one(made: Make, capsys: pytest.CaptureFixture[str]) -> None:
    run = made(QUIET, "+adapter@model.adapter=lora", "+model.adapter.fan_in_fan_out=true")
    trained = [name for name, parameter in run.model.named_parameters() if parameter.requires_grad]
    assert trained
    assert all("lora_" in name for name in trained)
    count = sum(parameter.numel() for parameter in run.model.parameters() if parameter.requires_grad)
    assert f"{count:,} trained" in capsys.readouterr().err


def test_a_loss_of_routers_that_is_not_learned_from_is_told(made: Make, capsys: pytest.CaptureFixture[str]) -> None:
    made("trainer.save_strategy=no")
    assert "router" not in capsys.readouterr().err
    made("trainer.save_strategy=no", "+model.config.output_router_logits=true")
    assert "warning: what its router adds to the loss (output_router_logits) is no part" in capsys.readouterr().err
