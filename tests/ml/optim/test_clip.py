"""Gradients clipped by norm and by value."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
clip = pytest.importorskip("forge.ml.optim.clip")


def _parameters(*gradients: list[float] | None) -> list[torch.nn.Parameter]:
    made = []
    for values in gradients:
        parameter = torch.nn.Parameter(torch.zeros(len(values or [0.0])))
        parameter.grad = None if values is None else torch.tensor(values)
        made.append(parameter)
    return made


def _values(parameters: list[torch.nn.Parameter]) -> list[list[float]]:
    return [parameter.grad.tolist() for parameter in parameters if parameter.grad is not None]


def test_the_norm_is_that_of_all_gradients_before_clipping() -> None:
    parameters = _parameters([3.0], None, [0.0, 4.0])
    assert clip.clip_(parameters, max_norm=1.0).item() == 5.0
    assert torch.allclose(torch.tensor(_values(parameters)[1]), torch.tensor([0.0, 0.8]), atol=1e-6)


def test_gradients_below_the_limit_stay() -> None:
    parameters = _parameters([3.0], [4.0])
    assert clip.clip_(parameters, max_norm=10.0).item() == 5.0
    assert _values(parameters) == [[3.0], [4.0]]


def test_by_value_each_number_is_clipped() -> None:
    parameters = _parameters([3.0, -0.1], [-4.0])
    clip.clip_(parameters, max_value=0.5)
    assert _values(parameters) == [[0.5, pytest.approx(-0.1)], [-0.5]]


def test_by_both_the_norm_is_that_of_the_clipped_values() -> None:
    parameters = _parameters([30.0], [4.0])
    assert clip.clip_(parameters, max_norm=2.5, max_value=3.0).item() == pytest.approx(30.2655, abs=1e-3)
    assert sum(value**2 for [value] in _values(parameters)) ** 0.5 == pytest.approx(2.5, abs=1e-5)


def test_without_limits_only_the_norm_is_taken() -> None:
    parameters = _parameters([3.0], [4.0])
    assert clip.clip_(iter(parameters)).item() == 5.0
    assert _values(parameters) == [[3.0], [4.0]]


def test_without_gradients_the_norm_is_nothing() -> None:
    assert clip.clip_(_parameters(None), max_norm=1.0).item() == 0.0


def test_a_norm_that_is_no_number_is_told() -> None:
    assert clip.clip_(_parameters([float("nan")]), max_norm=1.0).isnan()
