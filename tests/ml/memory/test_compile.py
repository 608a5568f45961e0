"""Compiled layers: one compilation for all of them and for all lengths, and only where it pays."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from forge.base.errors import ToolError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [
    pytest.mark.torch,
    # The compiler of torch uses what torch itself has deprecated, and hides a warning of its own only where it is a warning.
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning"),
]
torch = pytest.importorskip("torch")
compiling = pytest.importorskip("forge.ml.memory.compile")
checkpointing = pytest.importorskip("forge.ml.memory.checkpointing")
lean = pytest.importorskip("forge.ml.models.lean")
offload = pytest.importorskip("forge.ml.memory.offload")

LENGTHS = (16, 20, 21, 33, 48, 17, 40, 64, 25, 30)


@pytest.fixture
def compiled_graphs() -> Iterator[Callable[[], int]]:
    """A function for the number of graphs compiled so far, in a compiler that remembers nothing."""
    from torch._dynamo.utils import counters

    torch._dynamo.reset()
    counters.clear()
    with torch._dynamo.config.patch(recompile_limit=torch._dynamo.config.recompile_limit):
        yield lambda: counters["stats"]["unique_graphs"]
    torch._dynamo.reset()


@pytest.fixture
def traced() -> Iterator[None]:
    """Graphs are traced and run as they are: what is compiled and how often is the same, and quick."""
    before = torch.compiler.get_default_backend()
    torch.compiler.set_default_backend("eager")
    yield
    torch.compiler.set_default_backend(before)


@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize(("how", "leanly"), [(False, False), (True, False), ("selective", False), (False, True)])
def test_one_graph_for_all_layers_and_one_more_for_all_lengths(
    llama: Any, gradients: Any, compiled_graphs: Any, how: Any, leanly: object
) -> None:
    model, plain = llama(), llama()
    if leanly:
        lean.put_lean(model)
    checkpointing.checkpoint_blocks(model, how)
    assert compiling.compile_blocks(model) == 4
    counts = []
    for step, length in enumerate(LENGTHS):
        mine, expected = gradients(model, step, length), gradients(plain, step, length)
        torch.testing.assert_close(mine, expected, rtol=1e-6, atol=1e-7)
        counts.append(compiled_graphs())
    assert counts == [1] + [2] * (len(LENGTHS) - 1)


REAL = [(False, False), ("selective", True)]  # each takes the compiler some ten seconds
ALL_REAL = [(how, offloading) for how in (False, True, "selective") for offloading in (False, True)]


@pytest.mark.slow
@pytest.mark.parametrize(("how", "offloading"), ALL_REAL if os.environ.get("FORGE_FULL") else REAL)
def test_the_real_compiler_gives_the_same_gradients(
    llama: Any, loss_of: Any, gradients: Any, compiled_graphs: Any, monkeypatch: Any, how: Any, offloading: object
) -> None:
    monkeypatch.setattr(offload, "_on_host", lambda _: False)
    model = llama()
    checkpointing.checkpoint_blocks(model, how)
    compiling.compile_blocks(model)
    for step, length in enumerate((16, 20, 33)):
        expected = gradients(llama(), step, length)
        model.zero_grad()
        if offloading:
            with offload.offload_activations(model, smallest=0):
                loss = loss_of(model, step, length)
        else:
            loss = loss_of(model, step, length)
        loss.backward()
        for name, parameter in model.named_parameters():
            assert (parameter.grad - expected[name]).norm() <= 1e-6 * expected[name].norm(), name
    assert compiled_graphs() == 2


@pytest.mark.usefixtures("compiled_graphs")
def test_names_stay(llama: Any) -> None:
    model = llama()
    compiling.compile_blocks(model)
    assert list(model.state_dict()) == list(llama().state_dict())


@pytest.mark.usefixtures("traced")
def test_generation_with_a_cache_is_not_compiled(llama: Any, compiled_graphs: Any) -> None:
    model, tokens = llama().eval(), torch.arange(8)[None]
    compiling.compile_blocks(model)
    settings = {"max_new_tokens": 6, "do_sample": False, "pad_token_id": 0}
    assert torch.equal(model.generate(tokens, **settings), llama().eval().generate(tokens, **settings))
    assert compiled_graphs() == 0


@pytest.mark.parametrize(("variable", "value"), [("PATH", ""), ("CXX", "no-such-compiler")])
def test_without_a_compiler_it_is_refused(llama: Any, monkeypatch: Any, variable: str, value: str) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv(variable, value)
    model = llama()
    with pytest.raises(ToolError, match="needs a C\\+\\+ compiler") as error:
        compiling.compile_blocks(model)
    assert "set torch_compile to false" in error.value.hint
    assert compiling.choose_compile("auto", "cpu", steps=10**9, parameters=10**9, tokens=10**6).compiled is False


@pytest.mark.parametrize(("how", "compiled"), [(True, True), (False, False)])
def test_what_is_asked_for_is_done(how: Any, compiled: object) -> None:
    assert compiling.choose_compile(how, "cpu", steps=1, parameters=1, tokens=1).compiled is compiled


@pytest.mark.parametrize(
    ("steps", "parameters", "compiled"),
    [(100, 10**5, False), (1000, 5 * 10**7, True), (10, 5 * 10**7, False), (None, 10**9, False)],
)
def test_auto_compiles_long_runs_of_large_models(
    monkeypatch: Any, steps: int | None, parameters: int, compiled: object
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(compiling, "_has_compiler", lambda _: True)
    choice = compiling.choose_compile("auto", "cpu", steps=steps, parameters=parameters, tokens=4096)
    assert choice.compiled is compiled
    assert ("not compiled" in choice.described) is not compiled


def test_little_is_not_told_as_nothing() -> None:
    choice = compiling.choose_compile("auto", "cpu", steps=1, parameters=10**5, tokens=64)
    assert choice.described.endswith("and saves less than a second of this run")


def test_seconds_saved_grow_with_the_run() -> None:
    saved = partial(compiling.seconds_saved, "cpu", parameters=10**7, tokens=4096)
    assert saved(steps=200) == pytest.approx(2 * saved(steps=100))


def test_other_values_are_refused() -> None:
    with pytest.raises(ValueError, match="torch_compile is auto, true or false, not 'always'"):
        compiling.choose_compile("always", "cpu", steps=1, parameters=1, tokens=1)
