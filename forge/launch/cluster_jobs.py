"""Jobs that a cluster has, as `forge control` looks after them: those of Slurm by its programs, those of Kubernetes by its client.

Where their run folder is on a volume that only pods see, what is asked of a run is asked by forge in one of them: every one sees it.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from forge.base.errors import FileError, ToolError
from forge.control.record import change_record, moment
from forge.control.requests import ask_to_abort
from forge.launch.k8s_client import (
    client_missing,
    end_pods,
    follow_pod,
    job_condition,
    map_files,
    pod_logs,
    pods,
    remove,
    run_in_pod,
)
from forge.launch.slurm_jobs import cancel, job_state

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from forge.control.known import KnownJob
    from forge.launch.k8s_client import PodState
    from forge.launch.topology import Topology

__all__ = [
    "ClusterView",
    "abort_on_cluster",
    "ask_cluster",
    "cluster_of",
    "free_name",
    "frozen_files",
    "run_on_cluster",
    "show_logs",
    "take_away",
]

_RUNS: Final = "Running"
_FORGOTTEN: Final = "forgotten by Slurm"
_GONE: Final = 180.0  # seconds in which the cluster has deleted what it was told to: pods have a grace of two minutes
_LOOK: Final = 0.5
_FINISHED: Final = ("Complete", "Succeeded")
_ABORTED: Final = 130


class ClusterView(NamedTuple):
    """How a cluster says that a job is; ``code`` is its exit code once it has ended, and None before, or where nobody knows it any more."""

    state: str
    code: int | None
    pods: list[PodState]

    @property
    def over(self) -> bool:
        """Whether it does not run any more, and never will."""
        return self.code is not None or self.state == _FORGOTTEN


def cluster_of(topology: Topology, documents: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the record of a job keeps of the manifests that were applied for it; the last of them is the job."""
    objects = [{"apiVersion": one["apiVersion"], "kind": one["kind"], "metadata": _place(one)} for one in documents]
    place = objects[-1]["metadata"]
    return {"kind": "k8s", **place, "objects": objects, "python": topology.python or "python"}


def ask_cluster(job: KnownJob) -> ClusterView:
    """How the job is there; an end is written down in its record."""
    found = _view(_cluster(job))
    if found.code is not None and not job.record.ended:
        change_record(job.id, ended=moment(), code=found.code)
    return found


def run_on_cluster(job: KnownJob, words: Sequence[str], write: Callable[[str], None]) -> int:
    """Run a line of forge in a pod of the job, on its run folder, and let each line of what it says be written; its exit code."""
    cluster = _cluster(job)
    document = cluster["objects"][-1]
    running = [pod for pod in pods(document) if pod.phase == _RUNS]
    if not running:
        raise ToolError(f"no pod of {job.id} runs", hint=f"forge control status {job.id} says how the job is")
    command = ["env", "PYTHONSAFEPATH=1", cluster["python"], "-m", "forge", *words, job.record.run]
    rest = ""

    def hear(text: str) -> None:
        nonlocal rest
        *whole, rest = (rest + text).split("\n")
        for line in whole:
            write(line)

    code = run_in_pod(document, running[0].name, command, hear)
    if rest:
        write(rest)
    return code


def show_logs(job: KnownJob, lines: int | None, write: Callable[[str], None], *, follow: bool = False) -> None:
    """What the pods have printed; with ``follow`` the first one's, as long as it runs."""
    document = _cluster(job)["objects"][-1]
    found = pods(document)
    if not found:
        raise ToolError(f"{job.id} has no pods", hint=f"forge control status {job.id} says how the job is")
    if follow:
        for line in follow_pod(document, found[0].name, lines):
            write(line)
        return
    for name, text in pod_logs(document, lines):
        for line in text.splitlines():
            write(f"{name}  {line}" if len(found) > 1 else line)


def abort_on_cluster(job: KnownJob, write: Callable[[str], None]) -> None:
    """End a job at once, without a last checkpoint."""
    cluster = job.record.cluster or {}
    if cluster.get("kind") == "slurm":
        with contextlib.suppress(FileError):
            ask_to_abort(job.record.run)  # its nodes end their ranks, whatever they wait for
        cancel(str(cluster["job"]))
    else:
        document = _cluster(job)["objects"][-1]
        for line in remove([document]):
            write(line)
        end_pods(document)
    change_record(job.id, asked="abort", ended=moment(), code=_ABORTED)


def take_away(job: KnownJob, write: Callable[[str], None]) -> None:
    """Remove from the cluster what was applied for a job that has ended; Slurm forgets its jobs by itself."""
    cluster = job.record.cluster or {}
    if cluster.get("kind") == "k8s":
        for line in remove(_cluster(job)["objects"]):
            write(line)


def frozen_files(job: KnownJob) -> dict[str, str]:
    """The frozen config of a job of Kubernetes, by the names of its files: its pods have it from a ConfigMap."""
    found = map_files(_cluster(job)["objects"][0])
    if not found:
        raise ToolError(
            f"what {job.id} was made from is not in the cluster any more", hint="start it by hand: forge train"
        )
    return found


def free_name(job: KnownJob, topology: Topology, write: Callable[[str], None]) -> None:
    """Take away a job that has ended where another one is to have its name, and wait until it is gone."""
    cluster = job.record.cluster or {}
    if (cluster.get("namespace"), cluster.get("name")) != (topology.namespace or "default", topology.job_name):
        return
    take_away(job, write)
    until = time.monotonic() + _GONE
    while job_condition(cluster["objects"][-1]) is not None and time.monotonic() < until:
        time.sleep(_LOOK)


def _cluster(job: KnownJob) -> dict[str, Any]:
    cluster = job.record.cluster or {}
    if cluster.get("kind") == "k8s" and (missing := client_missing()):
        raise ToolError(missing)
    return cluster


def _place(document: Mapping[str, Any]) -> dict[str, str]:
    return {name: document["metadata"][name] for name in ("namespace", "name")}


def _view(cluster: Mapping[str, Any]) -> ClusterView:
    if cluster["kind"] == "slurm":
        found = job_state(str(cluster["job"]))
        return ClusterView(found.state.lower() or _FORGOTTEN, found.code if found.over else None, [])
    document = cluster["objects"][-1]
    condition, running = job_condition(document), pods(document)
    if condition is None:
        return ClusterView("deleted", _ABORTED, running)
    if condition in _FINISHED:
        return ClusterView(condition, 0, running)
    if condition == "Failed":
        return ClusterView(condition, next((pod.code for pod in running if pod.code), 1), running)
    return ClusterView(condition or "waiting", None, running)
