from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from forge.base.errors import ToolError
from forge.control.known import find_job
from forge.control.register import register
from forge.launch import cluster_jobs
from forge.launch.cluster_jobs import (
    abort_on_cluster,
    ask_cluster,
    cluster_of,
    free_name,
    frozen_files,
    run_on_cluster,
    show_logs,
    take_away,
)
from forge.launch.k8s import manifests
from forge.launch.k8s_client import PodState
from forge.launch.slurm_jobs import JobState
from forge.launch.topology import Topology

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from forge.control.known import KnownJob

TOPOLOGY = Topology(kind="k8s_job", image="forge:1", namespace="team", job_name="tiny", python="python9")
TWO = [PodState("tiny-0", "Running", None), PodState("tiny-1", "Pending", None)]


@pytest.fixture(autouse=True)
def _own_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORGE_DATA_HOME", str(tmp_path / "data"))


@pytest.fixture
def said() -> list[str]:
    """What was told."""
    return []


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Lets the functions that ask a cluster answer this."""

    def answer(**answers: Any) -> None:
        for name, value in {"client_missing": "", **answers}.items():
            monkeypatch.setattr(cluster_jobs, name, value if callable(value) else lambda *_, found=value, **__: found)

    return answer


def job_of(cluster: dict[str, Any], run: str = "/ckpt/run") -> KnownJob:
    return find_job(register(config="tiny", project="demo", overrides=[], run_folder=run, cluster=cluster).id)


def kubernetes_job() -> KnownJob:
    return job_of(cluster_of(TOPOLOGY, manifests(TOPOLOGY, "/ckpt/run", {})))


def test_a_job_of_a_cluster_is_known_by_its_place_there() -> None:
    job = kubernetes_job()
    assert (job.state, job.how, job.over) == ("elsewhere", "on Kubernetes, team/tiny", False)
    assert [one["kind"] for one in job.record.cluster["objects"]] == ["ConfigMap", "Service", "Job"]
    assert job.record.cluster["python"] == "python9"
    assert job_of({"kind": "slurm", "job": "7"}).how == "on Slurm, job 7"
    assert (job.record.keeper, job.record.starter) == (None, None)


@pytest.mark.parametrize(
    ("condition", "pods", "state", "code", "known"),
    [
        ("", [], "waiting", None, "elsewhere"),
        ("Running", TWO, "Running", None, "elsewhere"),
        ("Suspended", [], "Suspended", None, "elsewhere"),
        ("Complete", [PodState("tiny-0", "Succeeded", 0)], "Complete", 0, "finished"),
        ("Failed", [PodState("a", "Succeeded", 0), PodState("b", "Failed", 3)], "Failed", 3, "stopped"),
        ("Failed", [], "Failed", 1, "failed"),
        (None, [], "deleted", 130, "aborted"),
    ],
)
def test_an_end_is_written_down_when_it_is_seen(
    cluster: Callable[..., None], condition: str | None, pods: list[PodState], state: str, code: int | None, known: str
) -> None:
    cluster(job_condition=condition, pods=pods)
    job = kubernetes_job()
    assert ask_cluster(job)[:2] == (state, code)
    assert find_job(job.id).state == known


@pytest.mark.parametrize(
    ("found", "state", "code", "known"),
    [
        (JobState("PENDING"), "pending", None, "elsewhere"),
        (JobState("FAILED", 3), "failed", 3, "stopped"),
        (JobState("COMPLETED", 0), "completed", 0, "finished"),
        (JobState(""), "forgotten by Slurm", None, "elsewhere"),
    ],
)
def test_slurm_is_asked_for_its_own(
    cluster: Callable[..., None], found: JobState, state: str, code: int | None, known: str
) -> None:
    cluster(job_state=found)
    job = job_of({"kind": "slurm", "job": "7"})
    assert ask_cluster(job) == (state, code, [])
    assert find_job(job.id).state == known


def test_a_run_that_has_told_its_end_has_ended_and_one_that_goes_on_has_not(tmp_path: Path) -> None:
    job = job_of({"kind": "slurm", "job": "7"}, str(tmp_path))
    (tmp_path / "ending.json").write_text('{"code": 3}')
    assert find_job(job.id).state == "stopped"
    assert find_job(str(tmp_path)).over
    (tmp_path / "progress.json").write_text('{"step": 3, "total": 9}')  # it was queued again, and goes on
    import os

    later = os.stat(tmp_path / "ending.json").st_mtime + 60
    os.utime(tmp_path / "progress.json", (later, later))
    assert find_job(job.id).state == "elsewhere"


def test_a_line_runs_in_a_pod_that_runs(cluster: Callable[..., None], said: list[str]) -> None:
    asked: list[Any] = []

    def run(document: dict[str, Any], pod: str, command: list[str], write: Callable[[str], None]) -> int:
        asked.append((document["kind"], pod, command))
        for text in ("sa", "ved\nit", " is"):
            write(text)
        return 3

    cluster(pods=TWO[::-1], run_in_pod=run)
    assert run_on_cluster(kubernetes_job(), ["control", "save"], said.append) == 3
    command = ["env", "PYTHONSAFEPATH=1", "python9", "-m", "forge", "control", "save", "/ckpt/run"]
    assert asked == [("Job", "tiny-0", command)]
    assert said == ["saved", "it is"]
    cluster(pods=TWO[1:])
    with pytest.raises(ToolError, match="no pod of tiny-2 runs"):
        run_on_cluster(kubernetes_job(), ["control", "save"], said.append)
    cluster(client_missing="the official client is not installed")
    with pytest.raises(ToolError, match="not installed"):
        run_on_cluster(kubernetes_job(), ["control", "save"], said.append)


def test_logs_name_their_pods_where_there_are_several(cluster: Callable[..., None], said: list[str]) -> None:
    cluster(pods=TWO, pod_logs=[("tiny-0", "a\nb\n"), ("tiny-1", "c\n")], follow_pod=iter(["d"]))
    show_logs(kubernetes_job(), None, said.append)
    show_logs(kubernetes_job(), 5, said.append, follow=True)
    assert said == ["tiny-0  a", "tiny-0  b", "tiny-1  c", "d"]
    cluster(pods=TWO[:1], pod_logs=[("tiny-0", "a\n")])
    show_logs(kubernetes_job(), None, said.append)
    assert said[-1] == "a"
    cluster(pods=[])
    with pytest.raises(ToolError, match="has no pods"):
        show_logs(kubernetes_job(), None, said.append)


def test_an_abort_deletes_and_kills(cluster: Callable[..., None], said: list[str], tmp_path: Path) -> None:
    ended: list[Any] = []
    cluster(remove=["Job tiny deleted"], end_pods=lambda one: ended.append(one["kind"]), cancel=ended.append)
    job = kubernetes_job()
    abort_on_cluster(job, said.append)
    assert (said, ended, find_job(job.id).state) == (["Job tiny deleted"], ["Job"], "aborted")
    job = job_of({"kind": "slurm", "job": "7"}, str(tmp_path))
    abort_on_cluster(job, said.append)
    assert (ended[1:], (tmp_path / "ABORT").exists(), find_job(job.id).state) == (["7"], True, "aborted")


def test_what_was_applied_is_taken_away(cluster: Callable[..., None], said: list[str]) -> None:
    cluster(remove=lambda objects: [f"{one['kind']} deleted" for one in reversed(objects)])
    take_away(kubernetes_job(), said.append)
    take_away(job_of({"kind": "slurm", "job": "7"}), said.append)
    assert said == ["Job deleted", "Service deleted", "ConfigMap deleted"]


def test_only_a_job_of_the_same_name_is_taken_away_for_the_next_one(
    cluster: Callable[..., None], said: list[str]
) -> None:
    cluster(remove=lambda objects: [f"{one['kind']} deleted" for one in reversed(objects)], job_condition=None)
    job = kubernetes_job()
    free_name(job, Topology(kind="k8s_job", image="x", job_name="other", namespace="team"), said.append)
    assert said == []
    free_name(job, Topology(kind="k8s_job", image="x", job_name="tiny", namespace="team"), said.append)
    assert said == ["Job deleted", "Service deleted", "ConfigMap deleted"]


def test_what_a_job_was_made_from_is_in_the_cluster(cluster: Callable[..., None]) -> None:
    cluster(map_files={"run.json": "{}"})
    assert frozen_files(kubernetes_job()) == {"run.json": "{}"}
    cluster(map_files={})
    with pytest.raises(ToolError, match="is not in the cluster any more"):
        frozen_files(kubernetes_job())
