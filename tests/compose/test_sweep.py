from __future__ import annotations

import pytest

from forge.base.errors import OverrideError
from forge.compose.sweep import Axis, axes_among, grid


def test_what_names_several_values_is_an_axis() -> None:
    words = ["a.b=1", "lr=1e-4,3e-4", "optimizer=adamw,muon", "x=[1,2]", "y='a,b'", "+z=true,null", "~w", "nonsense=["]
    assert axes_among(words) == {
        1: Axis("lr", ("0.0001", "0.0003")),
        2: Axis("optimizer", ("adamw", "muon")),
        5: Axis("+z", ("true", "null")),
    }


@pytest.mark.parametrize(
    ("word", "values"),
    [
        ("seed=range(1,4)", ("1", "2", "3")),
        ("seed=choice(5,7)", ("5", "7")),
        ("x=[1,2],[3]", ("[1,2]", "[3]")),
        ("x='a b',c", ("'a b'", "c")),
    ],
)
def test_values_are_written_as_an_override_has_them(word: str, values: tuple[str, ...]) -> None:
    (axis,) = axes_among([word]).values()
    assert axis.values == values


@pytest.mark.parametrize("word", ["x=1,1", "x=glob(*)", "x=interval(0,1)"])
def test_what_names_no_list_of_values_is_refused(word: str) -> None:
    with pytest.raises(OverrideError, match="a sweep cannot take this"):
        axes_among([word])


def test_a_grid_has_every_combination() -> None:
    axes = [Axis("a", ("1", "2")), Axis("b", ("x", "y", "z"))]
    assert list(grid(axes)) == [("1", "x"), ("1", "y"), ("1", "z"), ("2", "x"), ("2", "y"), ("2", "z")]
    with pytest.raises(OverrideError, match="1,001 runs"):
        grid([Axis("a", tuple(map(str, range(1001))))])
