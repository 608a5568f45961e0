from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from forge.doctor import software
from forge.doctor.software import installed, software_rows
from forge.launch.preflight_devices import Devices

if TYPE_CHECKING:
    from conftest import Program


def found(monkeypatch: pytest.MonkeyPatch, gpus: int, **versions: str) -> dict[str, software.DoctorRow]:
    monkeypatch.setattr(software, "devices_here", lambda: Devices(gpus, 2))
    monkeypatch.setattr(software, "_version", lambda name: versions.get(name.replace("-", "_")))
    return {row.name: row for row in software_rows()}


def test_this_environment_is_named() -> None:
    versions = installed()
    assert list(versions)[:2] == ["python", "forge"]
    assert {row.name for row in software_rows()} >= {"Python", "forge", "torch", "transformers", "NCCL"}


def test_what_is_missing_is_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = found(monkeypatch, 0, torch="2.9.0")
    assert (rows["torch"].verdict, rows["transformers"].verdict) == ("good", "bad")
    assert rows["transformers"].remedy == "pip install 'forge[train]'"
    assert rows["NCCL"].found == "none here: processes on the CPU talk by gloo"


def test_torch_for_the_cpu_beside_gpus_is_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    row = found(monkeypatch, 8, torch="2.9.0+cpu")["torch and GPUs"]
    assert (row.verdict, row.found) == ("bad", "torch 2.9.0+cpu computes on the CPU only, and this machine has GPUs")


@pytest.mark.parametrize(("driver", "verdict"), [("12.8", "bad"), ("13.1", "good")])
def test_a_driver_that_is_too_old(monkeypatch: pytest.MonkeyPatch, program: Program, driver: str, verdict: str) -> None:
    program("nvidia-smi", f"echo 'CUDA Version        : {driver}'")
    rows = found(monkeypatch, 8, torch="2.9.0", nvidia_cuda_runtime="13.0.48", nvidia_nccl_cu13="2.28.9")
    assert rows["torch and GPUs"].verdict == verdict
    assert rows["NCCL"].found == "2.28.9, as torch brings it"
