from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from forge.base.errors import CheckpointError, FileError
from forge.ml.checkpoint.manifest import Score

torch = pytest.importorskip("torch")

from forge.ml.checkpoint import stage as stage_module  # noqa: E402
from forge.ml.checkpoint import store as store_module  # noqa: E402
from forge.ml.checkpoint.saver import Saver  # noqa: E402
from forge.ml.checkpoint.state import read_state  # noqa: E402
from forge.ml.checkpoint.tensors import as_tensor, read_tensors  # noqa: E402
from forge.ml.checkpoint.verify import verify  # noqa: E402

if TYPE_CHECKING:
    from forge.ml.checkpoint.store import Store

pytestmark = pytest.mark.torch


def weights(path: str | None) -> dict[str, Any]:
    assert path is not None
    return {name: as_tensor(raw) for name, raw in read_tensors(os.path.join(path, "model.safetensors")).items()}


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """No tensor is written until this is set."""
    gate = threading.Event()
    write = stage_module.write_tensors

    def wait(*arguments: Any) -> None:
        assert gate.wait(30)
        write(*arguments)

    monkeypatch.setattr(stage_module, "write_tensors", wait)
    return gate


def test_a_checkpoint_has_the_model_the_state_the_facts_and_the_score(store: Store) -> None:
    saver = Saver(store)
    files = [("config.json", b"{}"), ("model.safetensors", {"w": torch.arange(3.0)})]
    saver.save(files, {"optimizer": {"m": torch.ones(2)}, "n": 5}, 10, {"loss": 0.5}, score=Score("eval_loss", 1.0))
    saver.wait()
    (found,) = store.list(quick=False)
    assert (found.valid, found.step, found.facts, found.score) == (True, 10, {"loss": 0.5}, Score("eval_loss", 1.0))
    assert found.path == saver.path
    assert weights(saver.path)["w"].tolist() == [0.0, 1.0, 2.0]
    state = read_state(found.path)
    assert state["n"] == 5
    assert state["optimizer"]["m"].tolist() == [1.0, 1.0]


@pytest.mark.parametrize("asynchronous", [True, False])
def test_files_may_be_made_when_they_are_needed(store: Store, asynchronous: object) -> None:
    saver = Saver(store, asynchronous=bool(asynchronous))
    saver.save(lambda: iter([("model.safetensors", {"w": torch.ones(1)})]), {}, 1)
    if not asynchronous:
        assert saver.path is not None
    saver.wait()
    assert verify(saver.path or "") == []


def test_what_is_saved_is_the_step_that_was_asked_for_while_training_goes_on(
    store: Store, held: threading.Event
) -> None:
    weight, moment = torch.nn.Parameter(torch.zeros(1000)), torch.zeros(1000)
    saver = Saver(store)
    saver.save([("model.safetensors", {"w": weight})], {"optimizer": {"m": moment}}, 1)
    assert saver.busy
    assert saver.path is None
    with torch.no_grad():
        weight += 1  # the next step
        moment += 1
    held.set()
    saver.wait()
    assert not saver.busy
    assert not weights(saver.path)["w"].any()
    assert not read_state(saver.path or "")["optimizer"]["m"].any()


def test_no_snapshot_mixes_two_steps(store: Store) -> None:
    tensors = {str(number): torch.zeros(200) for number in range(20)}
    saver = Saver(store, keep=2)
    for step in range(1, 41):
        for tensor in tensors.values():
            tensor.fill_(step)
        saver.save([("model.safetensors", tensors)], {"m": list(tensors.values())}, step)
        for tensor in tensors.values():
            tensor.fill_(-1)
        if step % 4 == 0:
            saver.wait()
            found = weights(saver.path)
            assert {float(value) for tensor in found.values() for value in tensor} == {float(step)}
            assert {float(value) for tensor in read_state(saver.path or "")["m"] for value in tensor} == {float(step)}
    assert [found.step for found in store.list(quick=False) if found.valid] == [39, 40]


def test_host_memory_is_taken_once(store: Store) -> None:
    saver = Saver(store)
    weight = torch.zeros(10)
    places = set()
    for step in (1, 2, 3):
        saver.save([("model.safetensors", {"w": weight})], {}, step, wait=True)
        places.add(saver._snapshot._copies["model.safetensors", "w"].data_ptr())
    assert len(places) == 1
    saver.save([("model.safetensors", {"w": torch.zeros(11)})], {}, 4, wait=True)
    assert weights(saver.path)["w"].shape == (11,)


def test_the_step_that_was_saved_last_is_not_saved_again(store: Store) -> None:
    saver = Saver(store)
    for step in (1, 1, 2, 2):
        saver.save([("config.json", b"{}")], {}, step)
    saver.wait()
    assert [found.name for found in store.list()] == ["checkpoint-1", "checkpoint-2"]


def test_a_hundred_requests_come_to_few_checkpoints(store: Store, held: threading.Event) -> None:
    saver = Saver(store, keep=2)
    made = []
    held.set()

    def asking() -> None:
        for _ in range(100):
            saver.request()
            time.sleep(0.003)

    thread = threading.Thread(target=asking)
    thread.start()
    for step in range(1, 200):
        if saver.requested:
            saver.save([("model.safetensors", {"w": torch.full((100_000,), step)})], {}, step)
            made.append(step)
        time.sleep(0.002)
    thread.join()
    saver.wait()
    assert 2 <= len(made) <= 100
    assert not saver.requested
    assert int(weights(saver.path)["w"][0]) == made[-1]


def test_a_request_while_one_is_written_is_answered_after_it(store: Store, held: threading.Event) -> None:
    saver = Saver(store)
    saver.save([("model.safetensors", {"w": torch.ones(1)})], {}, 1)
    for _ in range(100):
        saver.request()
    assert not saver.requested
    held.set()
    saver.wait()
    assert saver.requested
    saver.save([("model.safetensors", {"w": torch.ones(1)})], {}, 2, wait=True)
    assert not saver.requested
    assert [found.step for found in store.list()] == [1, 2]


def full(*_: object) -> None:
    raise FileError("cannot write x: No space left on device", hint="free some space")


def test_what_goes_wrong_is_raised_by_the_next_call(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    saver = Saver(store)
    saver.save([("config.json", b"{}")], {}, 1, wait=True)
    with monkeypatch.context() as broken:
        broken.setattr(stage_module, "write_tensors", full)
        saver.save([("model.safetensors", {"w": torch.ones(1)})], {}, 2)
        with pytest.raises(CheckpointError, match="step 2 was not saved: cannot write x: No space left") as caught:
            saver.save([("config.json", b"{}")], {}, 3)
        assert caught.value.hint == "free some space"
        with pytest.raises(CheckpointError, match="step 4"):
            saver.save([("model.safetensors", {"w": torch.ones(1)})], {}, 4, wait=True)
    saver.wait()  # it was raised, and is over
    assert [found.step for found in store.list(quick=False)] == [1]
    saver.save([("model.safetensors", {"w": torch.ones(1)})], {}, 4, wait=True)
    assert [found.step for found in store.list(quick=False)] == [1, 4]


def test_with_a_warning_the_run_goes_on(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    saver = Saver(store, on_error="warn", say=said.append)
    with monkeypatch.context() as broken:
        broken.setattr(stage_module, "write_tensors", full)
        saver.save([("model.safetensors", {"w": torch.ones(1)})], {}, 1, wait=True)
    assert said == ["warning: step 1 was not saved: cannot write x: No space left on device\n  free some space"]
    saver.save([("model.safetensors", {"w": torch.ones(1)})], {}, 2, wait=True)
    assert [found.step for found in store.list()] == [2]


def test_what_went_wrong_can_be_asked_for_without_waiting(
    store: Store, held: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    saver = Saver(store)
    saver.check()
    saver.save([("model.safetensors", {"w": torch.ones(1)})], {}, 1)
    saver.check()
    assert saver.busy
    held.set()
    saver.wait()
    monkeypatch.setattr(stage_module, "write_tensors", full)
    saver.save([("model.safetensors", {"w": torch.ones(1)})], {}, 2)
    while saver.busy:
        time.sleep(0.01)
    with pytest.raises(CheckpointError, match="step 2 was not saved"):
        saver.check()
    saver.check()  # it was raised, and is over


def test_what_is_saved_is_saved_also_where_older_ones_cannot_be_removed(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    saver = Saver(store, keep=2, say=said.append)
    for step in (1, 2):
        saver.save([("model.safetensors", {"w": torch.ones(1)})], {}, step, wait=True)

    def refused(*_: object) -> None:
        raise FileError("cannot remove checkpoint-1: Permission denied")

    monkeypatch.setattr(store_module, "remove_tree", refused)
    saver.save([("model.safetensors", {"w": torch.ones(1)})], {}, 3, wait=True)
    assert saver.path is not None
    assert saver.path.endswith("checkpoint-3")
    assert said == [
        "warning: step 3 is saved, but what is older cannot be removed: cannot remove checkpoint-1: Permission denied"
    ]


def test_a_mistake_of_our_own_is_heard_of_too(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    saver = Saver(store)
    monkeypatch.setattr(stage_module, "write_tensors", lambda *_: {}["nothing"])
    saver.save([("model.safetensors", {"w": torch.ones(1)})], {}, 1)
    with pytest.raises(CheckpointError, match="step 1 was not saved: KeyError"):
        saver.wait()


def test_what_cannot_be_saved_is_told_before_the_run_goes_on(store: Store) -> None:
    saver = Saver(store)
    with pytest.raises(CheckpointError, match="odd cannot be saved"):
        saver.save([], {"x": 1, "part": {"odd": object()}}, 1)
    assert store.list() == []


def test_settings_that_make_no_sense_are_refused(store: Store) -> None:
    with pytest.raises(ValueError, match="on_error is fail or warn"):
        Saver(store, on_error="ignore")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least 1"):
        Saver(store, keep=0)
