"""Mixed precision chosen by what the processor has."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
precision = pytest.importorskip("forge.ml.memory.precision")


class _Scaler:
    def __init__(self, device: str) -> None:
        self.device = device


@pytest.fixture
def processor(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function that says what the processor is."""

    def made(*, flags: str = "", capability: tuple[int, int] = (0, 0)) -> None:
        monkeypatch.setattr(precision, "_cpu_flags", lambda: set(flags.split()))
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
        monkeypatch.setattr(torch.amp, "GradScaler", _Scaler)

    return made


@pytest.mark.parametrize(
    ("flags", "name", "said"),
    [
        ("fpu avx512_bf16 amx_bf16", "bf16", "mixed precision bf16: this CPU has amx_bf16 and avx512_bf16"),
        ("fpu asimd bf16", "bf16", "mixed precision bf16: this CPU has bf16"),
        ("fpu avx2", "no", "no mixed precision: this CPU has no bfloat16 units"),
        ("", "no", "no mixed precision: this system does not say what its CPU has"),
    ],
)
def test_a_cpu_gets_what_it_has(processor: Any, flags: str, name: str, said: str) -> None:
    processor(flags=flags)
    chosen = precision.choose_precision("auto", "cpu")
    assert (chosen.name, chosen.scaler, chosen.described, chosen.matmul) == (name, None, said, "highest")


@pytest.mark.parametrize(
    ("capability", "name", "matmul"),
    [((9, 0), "bf16", "high"), ((8, 0), "bf16", "high"), ((7, 5), "fp16", "highest"), ((6, 1), "no", "highest")],
)
def test_a_gpu_gets_what_its_generation_has(
    processor: Any, capability: tuple[int, int], name: str, matmul: str
) -> None:
    processor(capability=capability)
    chosen = precision.choose_precision("auto", "cuda")
    assert (chosen.name, chosen.matmul) == (name, matmul)
    assert isinstance(chosen.scaler, _Scaler) is (name == "fp16")
    assert f"CUDA capability {capability[0]}.{capability[1]}" in chosen.described


def test_no_means_exact_float32(processor: Any) -> None:
    processor(capability=(9, 0))
    chosen = precision.choose_precision("no", "cuda")
    assert (chosen.name, chosen.matmul) == ("no", "highest")


def test_weights_that_are_bfloat16_already_are_not_cast(processor: Any) -> None:
    processor(flags="amx_bf16")
    chosen = precision.choose_precision("auto", "cpu", torch.bfloat16)
    assert (chosen.name, chosen.described) == ("no", "no mixed precision: the weights are bfloat16 already")


def test_fp16_on_a_cpu_is_refused() -> None:
    with pytest.raises(ValueError, match="fp16 needs a CUDA device"):
        precision.choose_precision("fp16", "cpu")


def test_a_precision_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="auto, bf16, fp16 or no, not 'fp8'"):
        precision.choose_precision("fp8", "cpu")


@pytest.mark.parametrize(("name", "dtype"), [("bf16", torch.bfloat16), ("no", torch.float32)])
def test_autocast_casts_matrix_products(name: Any, dtype: Any) -> None:
    with precision.choose_precision(name, "cpu").autocast():
        assert torch.nn.Linear(2, 2)(torch.ones(1, 2)).dtype is dtype


def test_tf32_is_applied_to_the_process(processor: Any) -> None:
    processor(capability=(9, 0))
    before = torch.get_float32_matmul_precision()
    try:
        precision.choose_precision("bf16", "cuda").apply()
        assert torch.get_float32_matmul_precision() == "high"
        precision.choose_precision("no", "cuda").apply()
        assert torch.get_float32_matmul_precision() == "highest"
    finally:
        torch.set_float32_matmul_precision(before)


def test_the_flags_of_this_machine_can_be_read() -> None:
    assert isinstance(precision.choose_precision("auto", "cpu").described, str)
