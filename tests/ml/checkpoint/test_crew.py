from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any

import pytest

from forge.base.errors import CheckpointError
from forge.ml.checkpoint.crew import handing_over, take_over
from forge.ml.checkpoint.stage import Stage
from forge.ml.checkpoint.verify import verify

if TYPE_CHECKING:
    from forge.ml.checkpoint.store import Store


def fellow(stage: Stage) -> Stage:
    return Stage(os.path.dirname(stage.path), stage.step, None, stage.path)


def test_the_files_of_all_are_one_checkpoint(store: Store) -> None:
    with store.begin(3) as stage:
        for rank in (2, 1):
            other = fellow(stage)
            with handing_over(other, rank), other:
                other.write_bytes(f"state/part-{rank}.json", b"1")
        stage.write_bytes("config.json", b"{}")
        take_over(stage, 3)
        path = stage.commit()
    assert verify(path) == []
    assert sorted(os.listdir(path)) == ["config.json", "manifest.json", "state"]
    assert sorted(os.listdir(os.path.join(path, "state"))) == ["part-1.json", "part-2.json"]


def test_it_is_waited_for_a_slow_one(store: Store) -> None:
    with store.begin(3) as stage:

        def late() -> None:
            with handing_over(fellow(stage), 1):
                assert not gate.wait(0.2)

        gate = threading.Event()
        thread = threading.Thread(target=late)
        thread.start()
        take_over(stage, 2)
        thread.join()
        assert verify(stage.commit()) == []


def test_why_another_process_failed_is_told(store: Store) -> None:
    with store.begin(3) as stage:
        with (
            pytest.raises(CheckpointError),
            handing_over(fellow(stage), 1),
        ):
            raise CheckpointError("no space left on the disk")
        with pytest.raises(CheckpointError, match="step 3 was not saved: process 1: no space left on the disk"):
            take_over(stage, 2)
    assert store.list() == []
    assert not [name for name in os.listdir(store.folder) if name.startswith(".staging")]


def test_a_process_that_never_comes_is_named(store: Store) -> None:
    with (
        store.begin(3) as stage,
        pytest.raises(CheckpointError, match=r"for 0\.1 s nothing came from process 1, 2 of 3"),
    ):
        take_over(stage, 3, patience=0.1)


def test_a_file_that_two_wrote_is_refused(store: Store) -> None:
    with store.begin(3) as stage:
        stage.write_bytes("config.json", b"{}")
        other = fellow(stage)
        with pytest.raises(CheckpointError, match="File exists"), handing_over(other, 1):
            other.write_bytes("config.json", b"{}")
        with pytest.raises(CheckpointError, match=r"process 1: .*config\.json: File exists"):
            take_over(stage, 2)


def test_only_who_began_it_ends_it(store: Store) -> None:
    with store.begin(3) as stage:
        with fellow(stage) as other:
            other.write_bytes("config.json", b"{}")
        assert os.path.exists(os.path.join(stage.path, "config.json")), "the folder is not the other one's to remove"
        with pytest.raises(CheckpointError, match="only the process that began"):
            fellow(stage).commit()


class Pair:
    """Two savers in two threads, as processes of a crew."""

    def __init__(self) -> None:
        self.barrier = threading.Barrier(2, timeout=30)
        self.said: dict[int, Any] = {}

    def member(self, rank: int) -> Any:
        pair = self

        class Member:
            size = 2

            def __init__(self) -> None:
                self.rank = rank

            def exchange(self, value: Any) -> list[Any]:
                pair.said[rank] = value
                pair.barrier.wait()
                found = [pair.said[0], pair.said[1]]
                pair.barrier.wait()
                return found

        return Member()


@pytest.mark.torch
@pytest.mark.parametrize("broken", [False, True])
def test_two_savers_make_one_checkpoint(store: Store, broken: object, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    from forge.ml.checkpoint import stage as stages
    from forge.ml.checkpoint.saver import Saver
    from forge.ml.checkpoint.state import read_state

    write = stages.write_tensors

    def failing(file: Any, tensors: Any, metadata: Any) -> None:
        if broken and "b" in tensors:
            raise CheckpointError("the disk of the second one is full")
        write(file, tensors, metadata)

    monkeypatch.setattr(stages, "write_tensors", failing)
    pair, errors = Pair(), {}

    def save(rank: int) -> None:
        saver = Saver(store, crew=pair.member(rank), shared=True)
        state = {"x": torch.ones(2) if rank == 0 else torch.ones(2, device="meta"), "y": torch.zeros(1)}
        state["y"] = state["y"].to("meta") if rank == 0 else state["y"]
        saver.save([(f"model-{rank}.safetensors", {"ab"[rank]: torch.full((2,), float(rank))})], {"s": state}, 5)
        try:
            saver.wait()
        except CheckpointError as error:
            errors[rank] = str(error)

    other = threading.Thread(target=save, args=(1,))
    other.start()
    save(0)
    other.join()
    if broken:
        assert "process 1: the disk of the second one is full" in errors[0]
        assert "the disk of the second one is full" in errors[1]
        assert store.list() == []
        return
    (found,) = store.list(quick=False)
    assert found.valid
    assert errors == {}
    state = read_state(found.path)["s"]
    assert (state["x"].tolist(), state["y"].tolist()) == ([1.0, 1.0], [0.0])
