"""What surrounds a run here: variables that disagree, are half set or were left behind; a container, Slurm, Kubernetes."""

from __future__ import annotations

import os
import re
import time
from typing import TYPE_CHECKING, Final

from forge.base.errors import UsageError
from forge.doctor.row import DoctorRow
from forge.launch.preflight_devices import run_query
from forge.launch.surroundings import surroundings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from forge.launch.surroundings import Surroundings

__all__ = ["around_rows"]

_SECTION: Final = "surroundings"
_CONTAINERS: Final = {"/.dockerenv": "Docker", "/run/.containerenv": "Podman", "/singularity": "Singularity"}
_BRIDGED: Final = re.compile(r"172\.1[7-9]\.|10\.88\.")
# What is set to find a mistake, and costs speed or fills logs as long as it stays.
_LEFT: Final = {
    "CUDA_LAUNCH_BLOCKING": ("1", "every kernel is waited for: for a hang, and far slower"),
    "TORCH_DISTRIBUTED_DEBUG": ("DETAIL", "every collective is checked: slower"),
    "NCCL_DEBUG": ("INFO TRACE", "NCCL writes pages of what it does"),
    "TORCH_CPP_LOG_LEVEL": ("INFO", "torch writes what it does"),
    "NCCL_P2P_DISABLE": ("1", "GPUs of one machine talk through its memory"),
    "NCCL_SHM_DISABLE": ("1", "GPUs of one machine talk through the network"),
    "NCCL_IB_DISABLE": ("1", "InfiniBand is left unused"),
    "PYTHONDEVMODE": ("1", "Python checks itself: slower"),
}
_UNREAD: Final = {"NCCL_TIMEOUT": "nothing reads it: trainer.hang_seconds is how long ranks wait for each other"}
_SOON: Final = 600.0
_HOUR: Final = 3600


def around_rows(environment: Mapping[str, str] | None = None) -> list[DoctorRow]:
    """Rows for what these variables, and the files around, say."""
    environment = os.environ if environment is None else environment
    return [
        _nodes(environment),
        _leftovers(environment),
        _container(environment),
        *_slurm(environment),
        _kubernetes(environment),
    ]


def _nodes(environment: Mapping[str, str]) -> DoctorRow:
    """Whether the variables that make this one of several nodes agree, and are all there."""
    name = "nodes"
    try:
        found = surroundings(environment)
    except UsageError as error:
        return DoctorRow(_SECTION, name, "bad", error.what, error.hint or "unset one of them")
    if not found.facts:
        return DoctorRow(_SECTION, name, "good", "no variable says that this is one of several")
    says = ", ".join(f"{fact.source}={fact.value}" for fact in found.facts.values())
    missing = _missing(found)
    if missing:
        return DoctorRow(
            _SECTION,
            name,
            "warning",
            f"{says}, without {', '.join(missing)}",
            "set it on every node: nodes wait for ever else",
        )
    return DoctorRow(_SECTION, name, "good", says)


def _missing(found: Surroundings) -> list[str]:
    """What has to be said beside what is."""
    facts = found.facts
    if not found.several:
        return ["NNODES"] if {"node-rank", "master-addr"} <= set(facts) and "nnodes" not in facts else []
    missing = [] if {"master-addr", "rdzv-endpoint"} & set(facts) else ["MASTER_ADDR"]
    return [*missing, "NODE_RANK"] if "node-rank" not in facts and "rdzv-endpoint" not in facts else missing


def _leftovers(environment: Mapping[str, str]) -> DoctorRow:
    name = "variables"
    found = {
        variable: why
        for variable, (values, why) in _LEFT.items()
        if environment.get(variable, "").upper() in values.split() and environment.get(variable)
    }
    found |= {variable: why for variable, why in _UNREAD.items() if variable in environment}
    if not found:
        return DoctorRow(_SECTION, name, "good", "none that slows a run down or has no effect")
    says = "; ".join(f"{variable}={environment[variable]}: {why}" for variable, why in found.items())
    return DoctorRow(_SECTION, name, "warning", says, f"unset {' '.join(found)}")


def _container(environment: Mapping[str, str]) -> DoctorRow:
    kind = next((kind for path, kind in _CONTAINERS.items() if os.path.exists(path)), None)
    if kind is None or environment.get("KUBERNETES_SERVICE_HOST"):
        return DoctorRow(_SECTION, "container", "good", "none seen" if kind is None else kind)
    from forge.launch.preflight_network import interfaces

    bridged = [one.name for one in interfaces() if one.leads_out and _BRIDGED.match(one.address)]
    if bridged:
        says = f"{kind}, with a network of its own ({bridged[0]}): other machines do not reach it"
        return DoctorRow(
            _SECTION, "container", "warning", says, "for runs on several machines: docker run --network host"
        )
    return DoctorRow(_SECTION, "container", "good", f"{kind}, on the network of its host")


def _slurm(environment: Mapping[str, str]) -> list[DoctorRow]:
    job = environment.get("SLURM_JOB_ID")
    if not job:
        there = run_query(["sinfo", "--version"], 5)
        says = f"{there.strip()}, outside of a job" if there else "none here"
        return [DoctorRow(_SECTION, "Slurm", "good", says)]
    says = f"job {job} on {environment.get('SLURM_JOB_NODELIST', 'this node')}"
    rows = [DoctorRow(_SECTION, "Slurm", "good", says)]
    left = _left(environment, job)
    if left is None:
        return rows
    soon = left < _SOON
    remedy = "more of it: launch.time=HH:MM:SS, save often (--save-steps), and launch.requeue=true to go on by itself"
    says = f"{left / _HOUR:.1f} hours left" if left > _HOUR else f"{left / 60:.0f} minutes left"
    return [*rows, DoctorRow(_SECTION, "time limit", "warning" if soon else "good", says, remedy * soon)]


def _left(environment: Mapping[str, str], job: str) -> float | None:
    """The seconds until the job's time is over; None where that is not told."""
    end = environment.get("SLURM_JOB_END_TIME", "")
    if not end.isdecimal():
        end = (run_query(["squeue", "-h", "-j", job, "-O", "EndTime:30"], 5) or "").strip()
        try:
            return time.mktime(time.strptime(end, "%Y-%m-%dT%H:%M:%S")) - time.time()
        except ValueError:
            return None
    return int(end) - time.time()


def _kubernetes(environment: Mapping[str, str]) -> DoctorRow:
    if not environment.get("KUBERNETES_SERVICE_HOST"):
        return DoctorRow(_SECTION, "Kubernetes", "good", "none here")
    pod = environment.get("HOSTNAME", "a pod")
    return DoctorRow(
        _SECTION, "Kubernetes", "good", f"{pod}, of the cluster at {environment['KUBERNETES_SERVICE_HOST']}"
    )
