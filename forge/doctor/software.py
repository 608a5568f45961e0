"""Which versions are installed, read from their metadata: nothing heavy is imported to find out."""

from __future__ import annotations

import platform
import re
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Final

from forge import __version__
from forge.doctor.row import DoctorRow
from forge.launch.preflight_devices import devices_here, run_query
from forge.launch.preflight_node import forge_source

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["installed", "software_rows"]

_SECTION: Final = "software"
_TRAINING: Final = ("torch", "transformers")
_LIBRARIES: Final = ("nvidia-nccl-cu13", "nvidia-nccl-cu12", "nvidia-nccl-cu11")
_RUNTIMES: Final = ("nvidia-cuda-runtime", "nvidia-cuda-runtime-cu12", "nvidia-cuda-runtime-cu11")
_DRIVER: Final = re.compile(r"CUDA Version\s*:\s*(\d+)\.(\d+)")
_OLDEST: Final = (3, 10)


def installed() -> dict[str, str]:
    """The versions that all nodes of a run should have in common."""
    found = {"python": platform.python_version(), "forge": f"{__version__} ({forge_source()})"}
    for name in _TRAINING:
        if (number := _version(name)) is not None:
            found[name] = number
    nccl = next((number for name in _LIBRARIES if (number := _version(name)) is not None), None)
    if nccl is not None:
        found["NCCL"] = nccl
    driver = run_query(["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"])
    return {**found, "driver": driver.split()[0]} if driver and driver.strip() else found


def software_rows() -> list[DoctorRow]:
    """Python, forge, torch, transformers, NCCL, and whether torch fits the machine."""
    found = installed()
    gpus = devices_here().has_gpus
    rows = [_python(), DoctorRow(_SECTION, "forge", "good", found["forge"])]
    rows += [_row(name, found.get(name), "pip install 'forge[train]'") for name in _TRAINING]
    return [*rows, _nccl(found, gpus=gpus), *_torch(found.get("torch"), gpus=gpus)]


def _python() -> DoctorRow:
    says = f"{platform.python_version()} at {sys.executable}"
    if sys.version_info < _OLDEST:
        return DoctorRow(_SECTION, "Python", "bad", says, "forge needs Python 3.10 or later")
    return DoctorRow(_SECTION, "Python", "good", says)


def _row(name: str, number: str | None, install: str) -> DoctorRow:
    if number is None:
        return DoctorRow(_SECTION, name, "bad", "not installed in this environment", install)
    return DoctorRow(_SECTION, name, "good", number)


def _nccl(found: Mapping[str, str], *, gpus: bool) -> DoctorRow:
    if "NCCL" in found:
        return DoctorRow(_SECTION, "NCCL", "good", f"{found['NCCL']}, as torch brings it")
    says = "none here: torch brings none, or is built with one of its own"
    return DoctorRow(_SECTION, "NCCL", "good", says if gpus else "none here: processes on the CPU talk by gloo")


def _torch(number: str | None, *, gpus: bool) -> list[DoctorRow]:
    """Whether torch can use the GPUs, and their driver is new enough for it."""
    if number is None or not gpus:
        return []
    if "+cpu" in number:
        says = f"torch {number} computes on the CPU only, and this machine has GPUs"
        return [
            DoctorRow(_SECTION, "torch and GPUs", "bad", says, "install the build of torch for this machine's CUDA")
        ]
    runtime = next((value for name in _RUNTIMES if (value := _version(name)) is not None), None)
    driver = _DRIVER.search(run_query(["nvidia-smi", "--version"]) or "")
    if runtime is None or driver is None:
        return []
    says = f"torch brings CUDA {runtime}, the driver allows {driver[1]}.{driver[2]}"
    if int(runtime.split(".")[0]) > int(driver[1]):
        return [DoctorRow(_SECTION, "torch and GPUs", "bad", says, "a newer driver, or torch for an older CUDA")]
    return [DoctorRow(_SECTION, "torch and GPUs", "good", says)]


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
