"""What a profile of some steps leaves behind."""

from __future__ import annotations

import gzip
import json
import re
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from forge.ml.train.callbacks.profiler import Profiler

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")


def run_of(folder: Path) -> Any:
    said: list[str] = []
    return SimpleNamespace(
        folder=str(folder),
        device=torch.device("cpu"),
        step=0,
        said=said,
        progress=SimpleNamespace(say=said.append),
    )


def take(callback: Profiler, run: Any, steps: int) -> None:
    weight = torch.ones(16, 16, requires_grad=True)
    for _ in range(steps):
        (weight @ weight).sum().backward()
        run.step += 1
        callback.after_step(run, {})


def traces(folder: Path) -> list[dict[str, Any]]:
    found = sorted((folder / "profile").glob("*.pt.trace.json.gz"), key=lambda path: path.stat().st_mtime_ns)
    return [json.loads(gzip.decompress(path.read_bytes())) for path in found]


def names(trace: dict[str, Any]) -> set[str]:
    return {event["name"] for event in trace["traceEvents"]}


def test_each_cycle_leaves_a_trace_of_its_active_steps_and_a_table(tmp_path: Path) -> None:
    run, callback = run_of(tmp_path), Profiler(wait_steps=1, warmup_steps=1, active_steps=2, num_cycles=2)
    callback.begin(run)
    take(callback, run, 20)
    callback.end(run)
    found = traces(tmp_path)
    assert [sorted(name for name in names(trace) if "ProfilerStep" in name) for trace in found] == [
        ["ProfilerStep#2", "ProfilerStep#3"],
        ["ProfilerStep#6", "ProfilerStep#7"],
    ]
    assert all("aten::mm" in names(trace) for trace in found)
    files = sorted(path.name for path in (tmp_path / "profile").iterdir())
    assert [re.sub(r"\.\d{13}\.", ".TIME.", name) for name in files] == [
        "rank0_step4.TIME.pt.trace.json.gz",
        "rank0_step4.txt",
        "rank0_step8.TIME.pt.trace.json.gz",
        "rank0_step8.txt",
    ]
    assert "aten::mm" in (tmp_path / "profile" / "rank0_step4.txt").read_text()
    assert [text.split(":")[0] for text in run.said] == ["profile", "profile"]


def test_behind_the_last_cycle_nothing_is_recorded(tmp_path: Path) -> None:
    run, callback = run_of(tmp_path), Profiler(wait_steps=0, warmup_steps=1, active_steps=1)
    callback.begin(run)
    take(callback, run, 2)
    assert callback._profile is None
    take(callback, run, 3)
    callback.end(run)
    assert len(traces(tmp_path)) == 1


def test_a_cycle_that_is_cut_short_is_kept(tmp_path: Path) -> None:
    run, callback = run_of(tmp_path), Profiler(wait_steps=0, warmup_steps=1, active_steps=10)
    callback.begin(run)
    take(callback, run, 3)
    callback.end(run)
    assert "ProfilerStep#1" in names(traces(tmp_path)[0])


def test_a_run_that_ends_before_the_first_cycle_leaves_nothing(tmp_path: Path) -> None:
    run, callback = run_of(tmp_path), Profiler(wait_steps=5)
    callback.begin(run)
    take(callback, run, 2)
    callback.end(run)
    assert not (tmp_path / "profile").exists()


def test_memory_shapes_and_stacks_are_recorded_when_they_are_asked_for(tmp_path: Path) -> None:
    run = run_of(tmp_path)
    callback = Profiler(0, 1, 1, with_stack=True, profile_memory=True, record_shapes=True)
    callback.begin(run)
    take(callback, run, 2)
    (trace,) = traces(tmp_path)
    product = next(event for event in trace["traceEvents"] if event["name"] == "aten::mm")
    assert product["args"]["Input Dims"] == [[16, 16], [16, 16]]
    assert "[memory]" in names(trace)
    assert any(event.get("cat") == "python_function" for event in trace["traceEvents"])


def test_other_ranks_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "3")
    run, callback = run_of(tmp_path), Profiler(0, 1, 1)
    callback.begin(run)
    take(callback, run, 2)
    callback.end(run)
    assert not (tmp_path / "profile").exists()


@pytest.mark.parametrize("wrong", ["wait_steps", "warmup_steps", "active_steps", "num_cycles"])
def test_settings_that_make_no_sense_are_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match=f"{wrong} is at least"):
        Profiler(**{wrong: -1})
