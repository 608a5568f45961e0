"""What this machine allows a process: processors, memory, shared memory, open files, locked memory, and the right time."""

from __future__ import annotations

import contextlib
import os
from datetime import datetime, timezone
from typing import Final

from forge.base.machine_memory import machine_memory, memory_limit, system_text
from forge.base.sizes import shown_size
from forge.doctor.row import DoctorRow
from forge.launch.preflight_devices import devices_here, run_query, usable_processors

__all__ = ["machine_rows"]

_SECTION: Final = "machine"
_GROUPS: Final = "/sys/fs/cgroup"
_SHARED: Final = "/dev/shm"  # noqa: S108 - it is looked at, nothing is put there
_INFINIBAND: Final = "/sys/class/infiniband"
_LEAST_SHARED: Final = 1 << 30
_DOCKERS: Final = 128 << 20
_LEAST_FILES: Final = 4096
_LEAST_MEMORY: Final = 2e9
_UNLIMITED: Final = 1 << 60
_FRACTION: Final = 10
_CHRONY: Final = 4  # the field of chronyc's line that says how far off the clock is
_OFF: Final = 0.5


def machine_rows() -> list[DoctorRow]:
    """Every row of the machine."""
    return [_processors(), _memory(), _shared(), *_limits(), _clock()]


def _processors() -> DoctorRow:
    count, allowed = usable_processors(), _quota()
    says = f"{count} for this process"
    if allowed is not None and allowed < count:
        remedy = f"start no more processes and threads than that: --nproc, OMP_NUM_THREADS={max(1, int(allowed))}"
        return DoctorRow(
            _SECTION, "processors", "warning", f"{says}, of which its control group allows {allowed:g}", remedy
        )
    return DoctorRow(_SECTION, "processors", "good", says)


def _quota() -> float | None:
    words = system_text(os.path.join(_GROUPS, "cpu.max")).split()
    return int(words[0]) / int(words[1]) if len(words) == 2 and words[0].isdecimal() else None  # noqa: PLR2004 - a pair


def _memory() -> DoctorRow:
    (total, free), limit = machine_memory(), memory_limit()
    if total is None or free is None:
        return DoctorRow(_SECTION, "memory", "good", "not told by this system")
    says = f"{shown_size(total)}, {shown_size(free)} of it free"
    if limit is not None and limit < total:
        says += f"; the control group allows {shown_size(limit)}"
    if min(free, limit or free) < _LEAST_MEMORY:
        remedy = "`forge plan` says what a run takes: a smaller batch, gradient_checkpointing, an adapter"
        return DoctorRow(_SECTION, "memory", "warning", says, remedy)
    return DoctorRow(_SECTION, "memory", "good", says)


def _shared() -> DoctorRow:
    """Shared memory: NCCL and workers that load data put what they pass on there."""
    name = "shared memory"
    if not os.path.isdir(_SHARED):
        return DoctorRow(_SECTION, name, "good", "not on this system")
    found = os.statvfs(_SHARED)
    size, free = found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize
    says = f"{_SHARED} has {shown_size(size)}, {shown_size(free)} of it free"
    remedy = "docker run --shm-size=16g or --ipc=host; on Kubernetes an emptyDir of medium Memory at /dev/shm"
    if free < _LEAST_SHARED:
        several = (devices_here().gpus or 0) > 1 and free < _DOCKERS
        return DoctorRow(_SECTION, name, "bad" if several else "warning", says, remedy)
    return DoctorRow(_SECTION, name, "good", says)


def _limits() -> list[DoctorRow]:
    try:
        import resource  # not on every system
    except ImportError:
        return []
    files, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    locked, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    few = files != resource.RLIM_INFINITY and files < _LEAST_FILES
    rows = [
        DoctorRow(
            _SECTION,
            "open files",
            "warning" if few else "good",
            f"{_limit(files)} at a time",
            f"ulimit -n {65536 if most == resource.RLIM_INFINITY else most}" * few,
        )
    ]
    needed = os.path.isdir(_INFINIBAND) and bool(os.listdir(_INFINIBAND)) and locked != resource.RLIM_INFINITY
    says = f"{shown_size(locked) if locked != resource.RLIM_INFINITY else 'without limit'}"
    remedy = "ulimit -l unlimited, in /etc/security/limits.conf or LimitMEMLOCK=infinity of the service" * needed
    verdict = "bad" if needed else "good"
    says += ", and InfiniBand needs it without limit" if needed else ""
    return [*rows, DoctorRow(_SECTION, "locked memory", verdict, says, remedy)]  # type: ignore[arg-type]


def _limit(number: int) -> str:
    return f"{number:,}" if 0 <= number < _UNLIMITED else "any number"


def _clock() -> DoctorRow:
    now = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")
    remedy = "let chrony or systemd-timesyncd keep the time: timedatectl set-ntp true"
    tracked = (run_query(["chronyc", "-c", "tracking"], 5) or "").strip().split(",")
    if len(tracked) > _FRACTION:
        off = abs(_number(tracked[_CHRONY]))
        known = tracked[-1] == "Normal"
        says = f"{now}, {off * 1000:.1f} ms off as chrony says" if known else f"{now}; chrony has found no source"
        bad = off > _OFF or not known
        return DoctorRow(_SECTION, "clock", "warning" if bad else "good", says, remedy * bad)
    kept = (run_query(["timedatectl", "show", "-p", "NTPSynchronized", "--value"], 5) or "").strip()
    if kept in {"yes", "no"}:
        says = f"{now}, {'kept right by a time server' if kept == 'yes' else 'kept by no time server'}"
        return DoctorRow(_SECTION, "clock", "good" if kept == "yes" else "warning", says, remedy * (kept == "no"))
    return DoctorRow(_SECTION, "clock", "good", "no time server is known here; it is compared between hosts")


def _number(text: str) -> float:
    with contextlib.suppress(ValueError):
        return float(text)
    return 0.0
