from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from forge.launch.preflight_devices import Devices, devices_here, misfits, run_query, usable_processors

if TYPE_CHECKING:
    from pathlib import Path


def test_gpus_are_counted_by_their_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert devices_here(str(tmp_path)).gpus == 0
    for name in ("nvidia0", "nvidia5", "nvidiactl", "nvidia-uvm", "nvidia-caps"):
        (tmp_path / name).write_text("")
    found = devices_here(str(tmp_path))
    assert (found.gpus, found.has_gpus, found.processors) == (2, True, usable_processors())


def test_gpus_that_only_their_program_knows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    program = tmp_path / "nvidia-smi"
    program.write_text(
        "#!/bin/sh\necho 'GPU 0: NVIDIA A (UUID: x)'; echo '  MIG 1g'; echo 'GPU 1: NVIDIA B (UUID: y)'\n"
    )
    program.chmod(0o755)
    assert devices_here(str(tmp_path / "nosuch")).gpus == 2
    program.write_text("#!/bin/sh\nexit 9\n")
    assert devices_here(str(tmp_path)).gpus == 0
    (tmp_path / "kfd").write_text("")
    found = devices_here(str(tmp_path))
    assert (found.gpus, found.has_gpus) == (None, False)


FOUR, NONE = Devices(4, 2), Devices(0, 2)


@pytest.mark.parametrize(
    ("processes", "mask", "here", "says"),
    [
        (4, None, FOUR, ""),
        (5, None, FOUR, "5 processes do not fit on 4 GPUs"),
        (2, "1", FOUR, "2 processes do not fit on 1 GPU,"),
        (2, "0,3", FOUR, ""),
        (2, "0,4,5", FOUR, "GPU 4, 5 is not on this machine: there are 4, counted from 0"),
        (2, "GPU-1, MIG-2", FOUR, ""),
        (8, "", FOUR, ""),
        (8, None, NONE, ""),
        (1, "0", NONE, "CUDA_VISIBLE_DEVICES=0 names GPUs, and this machine has none"),
        (8, "0", Devices(None, 2), ""),
    ],
)
def test_what_does_not_fit(processes: int, mask: str | None, here: Devices, says: str) -> None:
    environment = {} if mask is None else {"CUDA_VISIBLE_DEVICES": mask}
    found, hint = misfits(processes, environment, here)
    assert found.startswith(says)
    assert bool(found) is bool(says) is bool(hint)


def test_programs_that_are_missing_fail_or_do_not_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_query(["no-such-program"]) is None
    assert run_query(["sh", "-c", "echo 7"]) == "7\n"
    assert run_query(["sh", "-c", "echo 7; exit 1"]) is None
    assert run_query(["sleep", "20"], 0.1) is None
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "broken").write_bytes(b"\x7fELF")
    (tmp_path / "broken").chmod(0o755)
    assert run_query(["broken"]) is None
