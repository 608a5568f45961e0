from __future__ import annotations

import pytest

from forge.base.errors import UsageError
from forge.shell.changes import override_key_of, with_changes, without


@pytest.mark.parametrize(
    ("before", "changes", "after"),
    [
        ([], ["a=1"], ("a=1",)),
        (["a=1", "b=2"], ["a=3"], ("a=3", "b=2")),
        (["a=1"], ["b=2"], ("a=1", "b=2")),
        (["+a=1"], ["a=2"], ("+a=2",)),
        (["+a=1"], ["++a=2"], ("++a=2",)),
        (["++a=1"], ["+a=2"], ("++a=2",)),
        (["+a=1"], ["~a"], ()),
        (["a=1"], ["~a"], ("~a",)),
        (["~a"], ["a=1"], ("a=1",)),
        (["model=x", "model@m=y"], ["model=z"], ("model=z", "model@m=y")),
    ],
    ids=str,
)
def test_a_later_change_takes_the_place_of_the_earlier_one(
    before: list[str], changes: list[str], after: tuple[str, ...]
) -> None:
    assert with_changes(before, changes) == after


def test_the_key_of_an_override_is_what_it_is_about() -> None:
    assert [override_key_of(text) for text in ("a.b=1", "+a=b=c", "++x=", "~y", "~z=1")] == ["a.b", "a", "x", "y", "z"]


def test_changes_are_taken_back_by_their_keys() -> None:
    assert without(["a=1", "+b=2", "~c"], ["b", "~c"]) == ("a=1",)
    with pytest.raises(UsageError, match=r"(?s)optimzer is not set.*did you mean 'optimizer'"):
        without(["optimizer=x"], ["optimzer"])
    with pytest.raises(UsageError, match="nothing is set"):
        without([], ["a"])
