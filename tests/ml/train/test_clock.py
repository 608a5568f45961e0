"""How the time of a step is split."""

from __future__ import annotations

import contextlib
import time
from typing import Any, ClassVar

import pytest

from forge.ml.train import clock as module
from forge.ml.train.clock import PARTS, StepClock


class Ticks:
    """A clock that moves only when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def ticks(monkeypatch: pytest.MonkeyPatch) -> Ticks:
    made = Ticks()
    monkeypatch.setattr(module, "time", made)
    return made


def _spend(ticks: Ticks, clock: StepClock, name: str, seconds: float) -> None:
    with clock.part(name):
        ticks.now += seconds


def test_a_step_is_split_into_its_parts_and_the_rest(ticks: Ticks) -> None:
    clock = StepClock()
    clock.start()
    _spend(ticks, clock, "data", 1.0)
    for _ in range(2):
        _spend(ticks, clock, "forward", 2.0)
        _spend(ticks, clock, "backward", 4.0)
    ticks.now += 0.5
    assert clock.stop() == {
        "data": 1.0,
        "forward": 4.0,
        "backward": 8.0,
        "optimizer": 0.0,
        "checkpoint": 0.0,
        "other": 0.5,
    }


def test_who_wants_to_know_is_told_of_each_part_when_it_begins() -> None:
    told: list[str] = []
    clock = StepClock(tell=told.append)
    with clock.part("forward"):
        assert told == ["forward"]
    with clock.between("checkpoint"), clock.part("backward"):
        assert told == ["forward", "backward"]


def test_each_step_begins_anew(ticks: Ticks) -> None:
    clock = StepClock()
    clock.start()
    _spend(ticks, clock, "data", 1.0)
    clock.stop()
    ticks.now += 50.0
    clock.start()
    ticks.now += 0.25
    assert clock.stop() == {**dict.fromkeys(PARTS, 0.0), "other": 0.25}


def test_a_checkpoint_between_two_steps_belongs_to_the_second(ticks: Ticks) -> None:
    clock = StepClock()
    for _ in range(2):
        with clock.between("checkpoint"):
            ticks.now += 3.0
    for expected in (6.0, 0.0):
        clock.start()
        ticks.now += 1.0
        seconds = clock.stop()
        assert (seconds["checkpoint"], seconds["other"]) == (expected, 1.0)


def test_a_part_that_fails_is_counted_too(ticks: Ticks) -> None:
    clock = StepClock()
    clock.start()
    with contextlib.suppress(KeyError), clock.part("forward"):
        ticks.now += 2.0
        raise KeyError
    assert clock.stop()["forward"] == 2.0


def test_the_parts_of_a_real_step_add_up_to_the_whole() -> None:
    clock = StepClock("cpu")
    began = time.perf_counter()
    clock.start()
    with clock.part("forward"):
        sum(range(10_000))
    seconds = clock.stop()
    assert 0 < sum(seconds.values()) <= time.perf_counter() - began
    assert tuple(seconds) == PARTS


class Event:
    """An event of a GPU that passes its marks a while after they were put into its queue."""

    made: ClassVar[list[Event]] = []
    waited = 0
    done = True

    def __init__(self, *, enable_timing: bool) -> None:
        assert enable_timing
        Event.made.append(self)
        self.time = 0.0

    def record(self, stream: float) -> None:
        self.time = stream

    def query(self) -> bool:
        return Event.done

    def synchronize(self) -> None:
        Event.waited += 1

    def elapsed_time(self, later: Event) -> float:
        return later.time - self.time


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Any:
    torch = pytest.importorskip("torch")
    Event.made, Event.waited, Event.done = [], 0, True
    queue = iter(range(0, 100_000, 250))  # each mark is passed 250 ms after the one before
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _device: float(next(queue)))
    return StepClock("cuda:0")


@pytest.mark.torch
def test_a_gpu_is_measured_between_marks_in_its_own_queue(gpu: StepClock, ticks: Ticks) -> None:
    for _ in range(3):
        gpu.start()
        for name in ("forward", "backward", "forward"):
            with gpu.part(name):
                ticks.now += 0.001  # what it takes to fill the queue
        ticks.now += 1.0
        seconds = gpu.stop()
        assert (seconds["forward"], seconds["backward"]) == (0.5, 0.25)
        assert seconds["other"] == pytest.approx(1.003 - 0.75)
    assert Event.waited == 0
    assert len(Event.made) == 6  # made in the first step, used again in the others


@pytest.mark.torch
def test_only_a_loop_that_has_not_read_its_loss_waits(gpu: StepClock) -> None:
    Event.done = False
    gpu.start()
    with gpu.part("forward"):
        pass
    gpu.stop()
    assert Event.waited == 1
