"""Each part of the memory kit with each other part: the losses and weights of training without any."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import Any

import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
checkpointing = pytest.importorskip("forge.ml.memory.checkpointing")
compiling = pytest.importorskip("forge.ml.memory.compile")
fused = pytest.importorskip("forge.ml.memory.fused")
offload = pytest.importorskip("forge.ml.memory.offload")
precision = pytest.importorskip("forge.ml.memory.precision")
lean = pytest.importorskip("forge.ml.models.lean")
groups = pytest.importorskip("forge.ml.optim.groups")
rounding = pytest.importorskip("forge.ml.optim.rounding")

CHECKPOINTS = [False, True, 2, "selective"]
WEIGHTS = {
    "float32": (torch.float32, "no", partial(torch.optim.AdamW, lr=1e-3, fused=True)),
    "autocast": (torch.float32, "bf16", partial(torch.optim.AdamW, lr=1e-3, fused=True)),
    "bf16": (torch.bfloat16, "no", partial(rounding.StochasticRounding, optimizer=partial(torch.optim.AdamW, lr=1e-3))),
}


@pytest.fixture
def trained_with(llama: Any, train: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function that trains three steps with some parts of the kit; offloading truly moves tensors."""
    monkeypatch.setattr(offload, "_on_host", lambda _: False)

    def trained(
        weights: str,
        *,
        how: Any = False,
        offloading: object = False,
        inside: object = False,
        compiled: bool = False,
        leaner: object = False,
    ) -> Any:
        dtype, name, optimizer = WEIGHTS[weights]
        model = llama().to(dtype)
        if leaner:
            assert lean.put_lean(model)
        checkpointing.checkpoint_blocks(model, how)
        if compiled:
            compiling.compile_blocks(model)
        made = optimizer(groups.parameter_groups(model))
        if inside:
            fused.FusedBackward(made)

        @contextlib.contextmanager
        def around() -> Any:
            with contextlib.ExitStack() as stack:
                stack.enter_context(precision.choose_precision(name, "cpu").autocast())
                if offloading:
                    stack.enter_context(offload.offload_activations(model, smallest=0))
                yield

        return train(model, made, fused=inside, around=around)

    return trained


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("how", CHECKPOINTS)
@pytest.mark.parametrize("offloading", [False, True])
@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("leaner", [False, True])
def test_every_combination_is_equal_bit_for_bit(
    trained_with: Any, same: Any, weights: str, how: Any, offloading: object, inside: object, leaner: object
) -> None:
    plain = trained_with(weights, leaner=leaner)
    kit = trained_with(weights, how=how, offloading=offloading, inside=inside, leaner=leaner)
    assert kit.losses == plain.losses
    assert same(kit.weights, plain.weights)


@pytest.mark.parametrize("weights", WEIGHTS)
def test_lean_norms_and_gates_learn_the_same_but_for_rounding(trained_with: Any, weights: str) -> None:
    plain, kit = trained_with(weights), trained_with(weights, leaner=True)
    assert kit.losses[0] == plain.losses[0]
    assert kit.losses == pytest.approx(plain.losses, rel=1e-6 if weights == "float32" else 1e-3)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")
@pytest.mark.parametrize("how", CHECKPOINTS)
def test_compiled_layers_with_all_the_rest_give_the_same_losses(trained_with: Any, how: Any) -> None:
    torch._dynamo.reset()
    plain = trained_with("float32")
    with torch._dynamo.config.patch(recompile_limit=8):
        kit = trained_with("float32", how=how, offloading=True, inside=True, compiled=True)
    assert kit.losses == pytest.approx(plain.losses, rel=1e-6)
    torch._dynamo.reset()


@pytest.mark.parametrize("weights", ["autocast", "bf16"])
def test_less_precision_stays_near(trained_with: Any, weights: str) -> None:
    assert trained_with(weights).losses == pytest.approx(trained_with("float32").losses, rel=2e-3)


@pytest.mark.parametrize("how", CHECKPOINTS)
@pytest.mark.parametrize("tied", [True, False])
def test_the_loss_without_whole_logits_goes_with_all_of_them(
    llama: Any, monkeypatch: Any, how: Any, tied: object
) -> None:
    causal = pytest.importorskip("forge.ml.loss.causal")
    batches = pytest.importorskip("forge.ml.data.batch")
    monkeypatch.setattr(offload, "_on_host", lambda _: False)
    tokens = torch.randint(0, 128, (2, 24), generator=torch.Generator().manual_seed(0))
    targets = tokens.roll(-1, dims=1)
    targets[:, -6:] = batches.IGNORED
    positions = torch.arange(24).expand_as(tokens)
    batch = batches.Batch(tokens, targets, positions, None, tokens.numel(), int((targets != batches.IGNORED).sum()))
    losses = []
    for kind, kit in (("whole", False), ("auto", how)):
        model = llama(tie_word_embeddings=tied)
        checkpointing.checkpoint_blocks(model, kit)
        optimizer = torch.optim.AdamW(groups.parameter_groups(model), lr=1e-3, fused=True)
        inside = fused.FusedBackward(optimizer) if kind == "auto" else None
        loss = causal.CausalLoss(model, kind)
        for _ in range(4):
            with offload.offload_activations(model, smallest=0):
                total = loss.total(batch) / batch.trained
            losses.append(total.item())
            total.backward()
            if inside is None:
                optimizer.step()
                optimizer.zero_grad()
    assert losses[4:] == pytest.approx(losses[:4], rel=1e-6)
