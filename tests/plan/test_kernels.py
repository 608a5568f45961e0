"""Named ways to compute, and what each of them needs of a device and a machine."""

from __future__ import annotations

import pytest

from forge.plan import kernels
from forge.plan.kernels import ATTENTIONS, FP8, KERNELS, kernel_problem


@pytest.mark.parametrize(
    ("setting", "known"), [("attn_implementation", ATTENTIONS), ("kernels", KERNELS), ("fp8", FP8)]
)
def test_each_name_is_had_somewhere_and_refused_with_a_reason_elsewhere(
    setting: str, known: dict[str, kernels.Need]
) -> None:
    for name, need in known.items():
        assert kernel_problem(setting, name, "cuda", here=False) == ("", "", ())
        what, why, ways = kernel_problem(setting, name, "cpu", here=False)
        assert bool(what) == bool(need.gpu)
        assert why == need.gpu
        assert ways == ((f"model.{setting}={next(iter(known))}",) if what else ())
        assert bool(need.package) == bool(need.install)


def test_a_package_is_asked_for_on_the_machine_of_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "find_spec", lambda name: None if name == "liger_kernel" else object())
    what, why, ways = kernel_problem("kernels", "liger", "cuda", here=True)
    assert (what, why) == ("kernels liger needs the package liger_kernel", "it is not installed")
    assert ways == ("model.kernels=lean", "pip install 'forge[liger]'")
    assert kernel_problem("fp8", "rowwise", "cuda", here=True)[0] == ""


def test_a_name_that_there_is_not_is_told_those_that_there_are() -> None:
    what, why, ways = kernel_problem("fp8", "blockwise", None, here=False)
    assert what == "fp8 has no 'blockwise'"
    assert why == "it is one of none, tensorwise, rowwise, rowwise_with_gw_hp"
    assert ways == ("model.fp8=none",)
