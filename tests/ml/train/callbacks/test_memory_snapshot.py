"""Snapshots of a GPU's memory, and what is said where there is none."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from forge.ml.train.callbacks.memory_snapshot import MemorySnapshot, summary

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")


def frame(name: str, line: int) -> dict[str, Any]:
    return {"filename": name, "line": line, "name": "f"}


def block(size: int, *frames: dict[str, Any], state: str = "active_allocated") -> dict[str, Any]:
    return {"size": size, "state": state, "frames": list(frames)}


TORCH = frame("/lib/torch/nn/modules/linear.py", 1)
SNAPSHOT = {
    "segments": [
        {
            "allocated_size": 70,
            "total_size": 100,
            "blocks": [
                block(10, TORCH, frame("model.py", 5), frame("step.py", 7)),
                block(20, TORCH, frame("model.py", 5), frame("step.py", 7)),
                block(25, TORCH),
                block(15),
                block(30, frame("model.py", 5), state="inactive"),
            ],
        }
    ]
}


def run_of(folder: Path, device: str) -> Any:
    said: list[str] = []
    progress = SimpleNamespace(say=said.append)
    return SimpleNamespace(folder=str(folder), device=torch.device(device), step=0, said=said, progress=progress)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The functions of torch that a machine without a GPU does not have; what they are told is kept."""
    seen: dict[str, Any] = {"history": []}
    memory = torch.cuda.memory
    monkeypatch.setattr(memory, "_record_memory_history", lambda **settings: seen["history"].append(settings))
    monkeypatch.setattr(memory, "_snapshot", lambda: SNAPSHOT)

    def dump(path: str) -> None:
        with open(path, "wb") as file:
            file.write(b"torch's own")

    monkeypatch.setattr(memory, "_dump_snapshot", dump)
    attach = "_cuda_attach_out_of_memory_observer"
    monkeypatch.setattr(torch._C, attach, lambda observer: seen.update(observer=observer), raising=False)
    return seen


def test_the_places_that_hold_the_most_come_first() -> None:
    found = summary(SNAPSHOT)
    assert (found["allocated"], found["reserved"]) == (70, 100)
    assert found["largest"] == [
        {"bytes": 30, "blocks": 2, "at": ["model.py:5 f", "step.py:7 f"]},
        {"bytes": 25, "blocks": 1, "at": ["/lib/torch/nn/modules/linear.py:1 f"]},
        {"bytes": 15, "blocks": 1, "at": []},
    ]


def test_without_cuda_the_run_says_so_and_goes_on(tmp_path: Path) -> None:
    run, callback = run_of(tmp_path, "cpu"), MemorySnapshot(at_steps=[1])
    callback.begin(run)
    run.step = 1
    callback.after_step(run, {})
    callback.end(run)
    assert run.said == ["no memory snapshots: only CUDA keeps a history of its memory, and this is cpu"]
    assert list(tmp_path.iterdir()) == []


def test_a_snapshot_is_kept_after_the_steps_that_were_named(tmp_path: Path, gpu: dict[str, Any]) -> None:
    run, callback = run_of(tmp_path, "cuda:0"), MemorySnapshot(at_steps=[2], max_entries=7)
    callback.begin(run)
    for step in (1, 2, 3):
        run.step = step
        callback.after_step(run, {})
    callback.end(run)
    assert gpu["history"] == [{"max_entries": 7, "stacks": "python"}, {"enabled": None}]
    assert sorted(path.name for path in (tmp_path / "memory").iterdir()) == ["step2.json", "step2.pickle"]
    assert json.loads((tmp_path / "memory" / "step2.json").read_text())["largest"][0]["bytes"] == 30


def test_memory_that_runs_out_is_kept_as_it_was(tmp_path: Path, gpu: dict[str, Any]) -> None:
    run, callback = run_of(tmp_path, "cuda:0"), MemorySnapshot(at_steps=[])
    callback.begin(run)
    run.step = 4
    gpu["observer"](0, 1000, 2000, 30)
    found = json.loads((tmp_path / "memory" / "out_of_memory_step5.json").read_text())
    assert (found["asked_for"], found["device_total"], found["device_free"]) == (1000, 2000, 30)
    callback.end(run)
    (tmp_path / "memory" / "out_of_memory_step5.json").unlink()
    gpu["observer"](0, 1000, 2000, 30)  # another use of the same process
    assert not (tmp_path / "memory" / "out_of_memory_step5.json").exists()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"at_steps": [0]}, "at_steps are"), ({"max_entries": 0}, "max_entries is"), ({"stacks": "c"}, "stacks is")],
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MemorySnapshot(**wrong)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_real_gpu_is_recorded(tmp_path: Path) -> None:
    run, callback = run_of(tmp_path, "cuda:0"), MemorySnapshot(at_steps=[1])
    callback.begin(run)
    held = torch.zeros(1 << 22, device="cuda")
    run.step = 1
    callback.after_step(run, {})
    with pytest.raises(torch.OutOfMemoryError):
        torch.zeros(1 << 50, device="cuda", dtype=torch.int8)
    callback.end(run)
    assert held.numel() == 1 << 22
    found = json.loads((tmp_path / "memory" / "step1.json").read_text())["largest"][0]
    assert found["bytes"] >= 1 << 24
    assert "test_memory_snapshot.py" in found["at"][0]
    assert (tmp_path / "memory" / "out_of_memory_step2.pickle").stat().st_size > 0
