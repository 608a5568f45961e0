"""nvidia-smi is a script here that prints what it prints on machines with GPUs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from forge.doctor import gpus
from forge.doctor.gpus import gpu_rows
from forge.launch.preflight_devices import Devices

if TYPE_CHECKING:
    from conftest import Program

SMI = """
case "$*" in
*temperature.gpu*) printf '{cards}';;
*ecc.errors*) printf '{errors}';;
*clocks_event_reasons*) {later};;
*clocks_throttle_reasons*) printf '{brakes}';;
*compute-apps*) printf '{company}';;
esac
"""
TWO = (
    "0, NVIDIA H100 80GB HBM3, GPU-a, 550.54.15, 81559, 4, 41\\n"
    "1, NVIDIA H100 80GB HBM3, GPU-b, 550.54.15, 81559, 4, 38\\n"
)
WELL = {
    "cards": TWO,
    "errors": "0, 0\\n1, 0\\n",
    "later": "echo 'Field is not a valid field to query.'; exit 2",
    "brakes": "0, 0x0000000000000001\\n1, 0x0000000000000000\\n",
    "company": "",
}


def rows(program: Program, **changes: str) -> dict[str, gpus.DoctorRow]:
    program("nvidia-smi", SMI.format(**{**WELL, **changes}))
    return {row.name: row for row in gpu_rows()}


def test_gpus_that_are_well(program: Program) -> None:
    found = rows(program)
    assert found["GPUs"].found == "2 x NVIDIA H100 80GB HBM3, 85.5 GB, driver 550.54.15"
    assert found["temperature"].found == "at most 41 degrees"
    assert {name: row.verdict for name, row in found.items()} == dict.fromkeys(
        ("GPUs", "temperature", "memory errors", "slowed down", "in use"), "good"
    )


@pytest.mark.parametrize(
    ("changes", "name", "verdict", "says"),
    [
        ({"errors": "0, 0\\n1, 7\\n"}, "memory errors", "bad", "uncorrected, GPU 1: 7"),
        ({"errors": "0, [N/A]\\n1, [N/A]\\n"}, "memory errors", "good", "not counted"),
        ({"cards": TWO.replace(", 38", ", 91")}, "temperature", "warning", "at most 91 degrees: GPU 1"),
        ({"brakes": "0, 0x48\\n1, 0x0\\n"}, "slowed down", "bad", "GPU 0 by a hardware slowdown, GPU 0 by heat"),
        ({"later": "printf '0, 0x20\\n1, 0x0\\n'"}, "slowed down", "warning", "GPU 0 by heat, by its driver"),
        ({"company": "GPU-b, 4711, python, 70000\\n"}, "in use", "warning", "GPU 1: process 4711 (python)"),
        ({"cards": TWO.replace(" 4, 38", " 70000, 38")}, "in use", "warning", "memory is taken, GPU 1: 73.4 GB"),
        ({"cards": TWO.replace("H100 80GB HBM3, GPU-b", "A100, GPU-b")}, "GPUs", "warning", "NVIDIA A100, NVIDIA H100"),
    ],
)
def test_what_is_not_well(program: Program, changes: dict[str, str], name: str, verdict: str, says: str) -> None:
    row = rows(program, **changes)[name]
    assert row.verdict == verdict
    assert says in row.found
    assert bool(row.remedy) is (verdict != "good")


@pytest.mark.parametrize(("count", "verdict"), [(0, "good"), (8, "bad"), (None, "good")])
def test_without_nvidia_smi(program: Program, monkeypatch: pytest.MonkeyPatch, count: int | None, verdict: str) -> None:
    program("nvidia-smi", "exit 9")
    monkeypatch.setattr(gpus, "devices_here", lambda: Devices(count, 2))
    (row,) = gpu_rows()
    assert row.verdict == verdict
