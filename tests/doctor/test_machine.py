from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

import pytest

from forge.doctor import machine
from forge.doctor.machine import machine_rows
from forge.launch.preflight_devices import Devices

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Program


class Space(NamedTuple):
    f_bavail: int
    f_frsize: int
    f_blocks: int


def rows() -> dict[str, machine.DoctorRow]:
    return {row.name: row for row in machine_rows()}


def test_this_machine() -> None:
    assert set(rows()) == {"processors", "memory", "shared memory", "open files", "locked memory", "clock"}


def test_memory_that_is_nearly_used_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "memory_limit", lambda: 10**9)
    found = rows()["memory"]
    assert found.verdict == "warning"
    assert "the control group allows 1.0 GB" in found.found
    assert "forge plan" in found.remedy


@pytest.mark.parametrize(
    ("free", "gpus", "verdict"), [(64 << 20, 8, "bad"), (64 << 20, 0, "warning"), (1 << 34, 8, "good")]
)
def test_shared_memory(monkeypatch: pytest.MonkeyPatch, free: int, gpus: int, verdict: str) -> None:
    monkeypatch.setattr(os, "statvfs", lambda _: Space(free, 1, free))
    monkeypatch.setattr(machine, "devices_here", lambda: Devices(gpus, 2))
    assert rows()["shared memory"].verdict == verdict


def test_limits_of_a_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(
        resource, "getrlimit", lambda what: (1024, 524288) if what == resource.RLIMIT_NOFILE else (65536, 65536)
    )
    found = rows()
    assert (found["open files"].verdict, found["open files"].remedy) == ("warning", "ulimit -n 524288")
    assert found["locked memory"].verdict == "good"
    (tmp_path / "mlx5_0").mkdir()
    monkeypatch.setattr(machine, "_INFINIBAND", str(tmp_path))
    found = rows()
    assert found["locked memory"].verdict == "bad"
    assert "ulimit -l unlimited" in found["locked memory"].remedy


def test_a_part_of_a_processor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    monkeypatch.setattr(machine, "_GROUPS", str(tmp_path))
    found = rows()["processors"]
    assert (found.verdict, found.remedy.endswith("OMP_NUM_THREADS=1")) == ("warning", True)


@pytest.mark.parametrize(
    ("name", "says", "verdict", "found"),
    [
        ("chronyc", "A,B,3,1.0,0.000012,0,0,0,0,0,0,0,0,Normal", "good", "0.0 ms off as chrony says"),
        ("chronyc", "A,B,3,1.0,2.5,0,0,0,0,0,0,0,0,Normal", "warning", "2500.0 ms off"),
        ("chronyc", ",,0,0.0,0.0,0,0,0,0,0,0,0,0,Not synchronised", "warning", "found no source"),
        ("timedatectl", "yes", "good", "kept right by a time server"),
        ("timedatectl", "no", "warning", "kept by no time server"),
    ],
)
def test_the_clock(program: Program, name: str, says: str, verdict: str, found: str) -> None:
    program("chronyc", "exit 1")
    program("timedatectl", "exit 1")
    program(name, f"echo '{says}'")
    row = rows()["clock"]
    assert (row.verdict, found in row.found) == (verdict, True)
