"""What several processes know together."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

from forge.ml.parallel.world import World  # noqa: E402 - torch may be missing
from forge.ml.train.agree import agree  # noqa: E402 - as above
from forge.ml.train.stopping import Stopping  # noqa: E402 - as above


class Heard:
    """A world of two, the other of which says this."""

    alone = False

    def __init__(self, *other: float) -> None:
        self.other = other

    def sum(self, mine: list[float]) -> list[float]:
        return [float(one) + two for one, two in zip(mine, self.other, strict=True)]


def asked(
    world: Any, stopping: Stopping, *, requested: bool = False, changes: bool = False, settled: list[Any] | None = None
) -> bool:
    settle = ([] if settled is None else settled).append
    held = SimpleNamespace(asked=changes, settle=settle)
    saver = SimpleNamespace(requested=requested, check=lambda: None)
    run: Any = SimpleNamespace(world=world, stopping=stopping, saver=saver, changes=held)
    return agree(run)


def test_one_process_asks_itself() -> None:
    stopping = Stopping()
    world = World(torch.device("cpu"))
    assert not asked(world, stopping)
    assert asked(world, stopping, requested=True)
    stopping.interrupt("SIGUSR1")
    assert stopping.asked


def test_what_another_process_knows_counts() -> None:
    stopping = Stopping()
    assert asked(Heard(1, 1, 1, 0), stopping)
    assert (stopping.asked, stopping.interrupted) == (True, True)
    assert "another process" in stopping.reason


def test_what_this_process_learns_later_waits_for_the_others() -> None:
    stopping = Stopping()
    assert not asked(Heard(0, 0, 0, 0), stopping)
    stopping.interrupt("SIGUSR1")
    assert stopping.noted
    assert not stopping.asked
    asked(Heard(0, 0, 0, 0), stopping)
    assert stopping.asked
    assert stopping.reason == "SIGUSR1"


def test_an_end_that_is_reached_is_no_interruption() -> None:
    stopping = Stopping()
    stopping.finish("early stopping")
    asked(Heard(1, 0, 0, 0), stopping)
    assert (stopping.asked, stopping.interrupted) == (True, False)


@pytest.mark.parametrize("other", [0, 1])
@pytest.mark.parametrize("mine", [False, True])
def test_what_is_to_change_is_settled_by_all(other: int, mine: bool) -> None:  # noqa: FBT001 - a parameter of the test
    settled: list[Any] = []
    asked(Heard(0, 0, 0, other), Stopping(), changes=mine, settled=settled)
    assert len(settled) == (mine or other == 1)
    settled.clear()
    asked(World(torch.device("cpu")), Stopping(), changes=mine, settled=settled)
    assert len(settled) == mine
