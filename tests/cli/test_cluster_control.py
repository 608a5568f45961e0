"""Jobs of Kubernetes by the command line: with the official client and a stand-in of the API server, where that client is installed."""

from __future__ import annotations

import json
import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "launch"))

from kubernetes_api import Cluster

from forge.control.known import find_job
from forge.control.register import register
from forge.launch import cluster_jobs
from forge.launch.cluster_jobs import cluster_of
from forge.launch.k8s import manifests
from forge.launch.k8s_client import PodState
from forge.launch.topology import Topology

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Run

MOUNT = "mounts: [{_target_: forge.launch.topology.Mount, claim: ckpt, path: /ckpt}]"
TRAINS = """
import os, sys, time
from forge.control.progress import RunProgress, write_progress
from forge.control.requests import SaveAnswer, write_answers
run = sys.argv[1]
os.makedirs(run)
open(os.path.join(run, "run.json"), "w").write('{"config": "tiny", "project": "demo", "overrides": []}')
print("hello", flush=True)
for step in range(6000):
    write_progress(run, RunProgress(step, 6000, 2.5, 9.0))
    if os.path.exists(os.path.join(run, "SAVE")):
        os.replace(os.path.join(run, "SAVE"), os.path.join(run, "taken"))
        write_answers(run, [SaveAnswer(open(os.path.join(run, "taken")).read(), step, "/ckpt/checkpoint-7")])
    if os.path.exists(os.path.join(run, "STOP")):
        open(os.path.join(run, "ending.json"), "w").write('{"code": 3}')
        sys.exit(3)
    time.sleep(0.01)
"""


def handed_over(topology: Topology) -> str:
    """The id of a job that was applied."""
    documents = manifests(topology, "/ckpt/run", {})
    return register(
        config="tiny", project="demo", overrides=[], run_folder="/ckpt/run", cluster=cluster_of(topology, documents)
    ).id


@pytest.fixture
def told(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was asked of a cluster in which one pod runs."""
    assert environment
    asked: list[Any] = []

    def run_there(_: object, pod: str, command: list[str], write: Callable[[str], None]) -> int:
        asked.append((pod, command[5:]))
        write("done\n")
        return 0

    answers: dict[str, Any] = {
        "client_missing": lambda: "",
        "pods": lambda _: [PodState("tiny-0", "Running", None)],
        "job_condition": lambda _: "Running",
        "pod_logs": lambda _, lines: [("tiny-0", f"the last {lines}")],
        "run_in_pod": run_there,
        "remove": lambda objects: [f"{one['kind']} deleted" for one in objects],
        "end_pods": lambda _: asked.append("killed"),
    }
    for name, answer in answers.items():
        monkeypatch.setattr(cluster_jobs, name, answer)
    return asked


def test_what_the_folder_cannot_tell_the_cluster_is_asked(run: Run, told: list[Any]) -> None:
    id_ = handed_over(Topology(kind="k8s_job", image="x", namespace="team", job_name="tiny"))
    assert "on Kubernetes, team/tiny" in run("control", "list").out
    done = run("control", "status", id_)
    assert "state       on Kubernetes, team/tiny" in done.out
    assert "pod         tiny-0 Running\nin its pods:\ndone\n" in done.out
    data = json.loads(run("control", "status", id_, "--json").out)
    assert (data["cluster_state"], data["pods"][0]["name"]) == ("Running", "tiny-0")
    assert run("control", "logs", id_, "-n", "3").out == "the last 3\n"
    for line in (["save"], ["stop", "--no-wait"], ["save-stop"], ["set", "lr_scale=0.5"], ["watch", "--once"]):
        assert run("control", *line, id_).out == "done\n"
    lines = [words for _, words in told]
    assert lines == [
        ["control", "status", "/ckpt/run"],
        ["control", "save", "/ckpt/run"],
        ["control", "stop", "--no-wait", "/ckpt/run"],
        ["control", "save-stop", "/ckpt/run"],
        ["control", "set", "lr_scale=0.5", "/ckpt/run"],
        ["control", "watch", "--once", "/ckpt/run"],
    ]
    done = run("save", id_)
    assert (done.code, "forge control reaches it" in done.errors) == (2, True)
    assert "only a job that has ended can be forgotten" in run("control", "cleanup", id_).errors
    assert run("control", "abort", id_).out.startswith(f"{id_} aborted")
    assert told[-1] == "killed"
    done = run("control", "cleanup", id_)
    assert done.out == f"forgot {id_}; the run folders stay\n"
    assert done.errors == "ConfigMap deleted\nService deleted\nJob deleted\n"


def test_jobs_of_slurm_are_stopped_by_their_folder_and_aborted_by_slurm(
    run: Run, told: list[Any], project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = project / "run"
    folder.mkdir()
    id_ = register(
        config="tiny", project="demo", overrides=[], run_folder=str(folder), cluster={"kind": "slurm", "job": "7"}
    ).id
    assert run("control", "stop", id_, "--no-wait").code == 0
    assert (folder / "STOP").exists()
    monkeypatch.setattr(cluster_jobs, "cancel", told.append)
    assert run("control", "abort", id_).code == 0
    assert told == ["7"]


def test_a_real_client_from_apply_to_removal(
    run: Run, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("kubernetes", reason="the official client is not installed")
    volume = tmp_path / "volume"
    volume.mkdir()
    cluster = Cluster(volume)
    for module in ("kubernetes.config", "kubernetes.config.kube_config"):
        where = str(cluster.kubeconfig(tmp_path / "kubeconfig"))
        monkeypatch.setattr(import_module(module), "KUBE_CONFIG_DEFAULT_LOCATION", where)
    try:
        job = f"+launch={{_target_: forge.launch.topology.Topology, kind: k8s_job, image: x, namespace: team, job_name: tiny, python: {sys.executable}, {MOUNT}}}"
        done = run("train", job, "+trainer.output_dir=/ckpt/out")
        assert done.code == 0, done.errors
        assert done.out.splitlines()[:3] == ["ConfigMap tiny created", "Service tiny created", "Job tiny created"]
        known = find_job("tiny-1")
        assert "waiting" in run("control", "status", "tiny-1").out
        cluster.start("tiny-0", [sys.executable, "-c", TRAINS, known.record.run])
        inside = volume / known.record.run.removeprefix("/ckpt/")
        while not (inside / "progress.json").exists():
            assert cluster.pods["tiny-0"][0].poll() is None
        done = run("control", "status", "tiny-1")
        assert "in its pods:" in done.out
        assert "/6000  loss 2.5000" in done.out
        assert run("control", "logs", "tiny-1").out == "hello\n"
        assert "saved step" in run("control", "save", "tiny-1").out
        done = run("runs", "relaunch", "tiny-1")
        assert (done.code, "tiny-1 is on Kubernetes, team/tiny: Running" in done.errors) == (2, True)
        assert "stopped" in run("control", "stop", "tiny-1").out
        cluster.pods["tiny-0"][0].wait(20)
        assert "cluster     Failed" in run("control", "status", "tiny-1").out
        assert find_job("tiny-1").state == "stopped"
        assert "resume_from_checkpoint" in run("runs", "resume", "tiny-1", "--dry-run").out
        assert len(cluster.objects) == 3
        done = run("runs", "resume", "tiny-1", "trainer.max_steps=7")
        assert done.code == 0, done.errors
        assert "Job tiny deleted\nService tiny deleted\nConfigMap tiny deleted\n" in done.errors
        assert done.out.splitlines()[2:] == ["Job tiny created", done.out.splitlines()[3]]
        files = cluster.objects["/api/v1/namespaces/team/configmaps/tiny"]["data"]
        assert "++trainer.resume_from_checkpoint=auto" in json.loads(files["run.json"])["overrides"]
        assert json.loads(files["topology.json"])["kind"] == "k8s_job"
        assert find_job("tiny-2").record.run != known.record.run
        assert run("control", "abort", "tiny-2").code == 0
        assert run("control", "cleanup", "tiny-2").code == 0
        assert cluster.objects == {}
        done = run("runs", "resume", "tiny-1")
        assert "what tiny-1 was made from is not in the cluster any more" in done.errors
        assert project.is_dir()
    finally:
        cluster.close()
