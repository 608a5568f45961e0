from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

import pytest

import forge
from forge.launch.preflight_disk import checkpoint_need, disk_findings, existing_folder
from forge.plan.read import read_run

if TYPE_CHECKING:
    from pathlib import Path

    from forge.graph.call_check import Finding
    from forge.plan.read import RunReading

EACH = 23.1e6  # 1.9 M weights in float32, and twice as much for AdamW


class Space(NamedTuple):
    f_blocks = 1
    f_bavail: float
    f_frsize: int


def read(*changes: str) -> RunReading:
    handle = forge.open("pydoc").config("pretrain/tiny", *changes)
    found = read_run(handle.graph.root, handle.main)
    assert found is not None
    return found


def findings(output: Path, *changes: str) -> list[Finding]:
    handle = forge.open("pydoc").config("pretrain/tiny", *changes)
    reading = read_run(handle.graph.root, handle.main)
    assert reading is not None
    return disk_findings(handle.graph.root, reading, str(handle.main), str(output))


@pytest.mark.parametrize(
    ("changes", "there", "count", "at_least"),
    [
        ([], 0, 2, False),  # 200 steps, saved every 100
        (["trainer.max_steps=5000"], 0, 4, False),  # 3 stay, and the next is written before one goes
        (["trainer.max_steps=5000"], 3, 1, False),
        (["trainer.max_steps=5000", "trainer.save_total_limit=1"], 0, 3, False),  # the two newest always stay
        (["trainer.max_steps=5000", "trainer.save_total_limit=null"], 0, 50, False),
        (["trainer.max_steps=-1", "trainer.save_total_limit=null"], 0, 1, True),
        (["trainer.save_strategy=epoch"], 0, 4, False),
    ],
)
def test_how_many_checkpoints_there_are_at_a_time(
    changes: list[str], there: int, count: int, *, at_least: bool
) -> None:
    need = checkpoint_need(read(*changes), there)
    assert need is not None
    assert (need.kept, need.at_least) == (count, at_least)
    assert need.each == pytest.approx(EACH, rel=0.01)


def test_runs_that_save_nothing_and_models_that_nobody_knows() -> None:
    assert checkpoint_need(read("trainer.save_strategy=no")) is None
    assert checkpoint_need(read("model=pretrained", "model.path=/nowhere", "~model.config")) is None


def test_an_adapter_takes_little() -> None:
    whole, adapter = checkpoint_need(read()), checkpoint_need(read("model.adapter={_target_: peft.LoraConfig, r: 16}"))
    assert whole is not None
    assert adapter is not None
    assert adapter.each < whole.each / 5


@pytest.mark.parametrize(
    ("free", "changes", "severity", "says"),
    [
        (1e12, [], None, ""),
        (EACH * 2.1, [], None, ""),
        (EACH * 1.5, [], "warning", "trainer.save_total_limit: 2 checkpoints of about 23.1 MB take 46.2 MB, and "),
        (
            EACH * 3.5,
            ["trainer.max_steps=9000", "trainer.save_total_limit=9"],
            "warning",
            "keep fewer: --save-total-limit 2",
        ),
        (EACH / 2, [], "error", "trainer.output_dir: a checkpoint takes about 23.1 MB, and "),
        (EACH / 2, ["trainer.on_save_error=warn"], "warning", "has 11.6 MB of free space"),
        (EACH / 2, ["trainer.save_strategy=no"], None, ""),
    ],
)
def test_what_has_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: float, changes: list[str], severity: str | None, says: str
) -> None:
    monkeypatch.setattr(os, "statvfs", lambda _: Space(free, 1))
    found = findings(tmp_path / "not" / "yet", *changes)
    assert [finding.severity for finding in found] == ([severity] if severity else [])
    assert says in "".join(map(str, found))
    assert all(finding.origin is not None for finding in found)


def test_those_that_are_there_are_not_counted_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "statvfs", lambda _: Space(EACH * 1.5, 1))
    for name in ("checkpoint-500", "checkpoint-1000-2", "checkpoint-1500"):
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
    assert findings(tmp_path, "trainer.max_steps=9000") == []
    (tmp_path / "checkpoints" / "checkpoint-500").rename(tmp_path / "checkpoints" / "mine")
    assert len(findings(tmp_path, "trainer.max_steps=9000")) == 1


def test_a_folder_that_cannot_be_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    (finding,) = findings(tmp_path / "x")
    assert (finding.severity, finding.key) == ("error", "trainer.output_dir")
    assert "cannot be written to" in finding.message
    assert existing_folder(str(tmp_path / "x" / "y")) == str(tmp_path)


def test_a_disk_that_does_not_tell_its_room_is_let_by(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("forge.launch.preflight_disk.free_space", lambda _: None)
    assert findings(tmp_path) == []
