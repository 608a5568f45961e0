"""The official client, as far as forge calls it: a stand-in that has its names, since there is no cluster here."""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from kubernetes_api import Cluster

from forge.base.errors import ToolError
from forge.launch import k8s_client
from forge.launch.k8s import manifests
from forge.launch.k8s_client import (
    PodState,
    apply,
    client_missing,
    end_pods,
    follow_pod,
    job_condition,
    pod_logs,
    pods,
    remove,
    run_in_pod,
)
from forge.launch.topology import Topology

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import Until


class RefusedError(Exception):
    """As the client raises it."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason, self.body = status, reason, '{"message": "no quota"}'


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, tuple[Any, ...]]]:
    """What is asked of the cluster; a name in ``refuse`` is refused."""
    made: list[tuple[str, tuple[Any, ...]]] = []

    class Api:
        refuse: str = ""
        status = 403

        def __init__(self, *_: object) -> None:
            pass

        def __getattr__(self, name: str) -> Any:
            def call(*words: Any, **named: Any) -> Any:
                made.append((name, (*words, *named.values())))
                if name == Api.refuse:
                    raise RefusedError(Api.status, "Forbidden")
                if name == "list_namespaced_pod":
                    status = SimpleNamespace(phase="Running", container_statuses=None)
                    return SimpleNamespace(
                        items=[SimpleNamespace(metadata=SimpleNamespace(name="pod-0"), status=status)]
                    )
                return "hello"

            return call

    client, config = ModuleType("kubernetes.client"), ModuleType("kubernetes.config")
    for name in ("CoreV1Api", "BatchV1Api", "CustomObjectsApi"):
        setattr(client, name, Api)
    pool = SimpleNamespace(clear=lambda: None)
    client.ApiClient = lambda: SimpleNamespace(rest_client=SimpleNamespace(pool_manager=pool))  # type: ignore[attr-defined]
    client.ApiException = RefusedError  # type: ignore[attr-defined]
    client.Api = Api  # type: ignore[attr-defined]
    config.load_config = lambda: None  # type: ignore[attr-defined]
    config.ConfigException = RefusedError  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "kubernetes", ModuleType("kubernetes"))
    monkeypatch.setitem(sys.modules, "kubernetes.client", client)
    monkeypatch.setitem(sys.modules, "kubernetes.config", config)
    return made


def documents(kind: str) -> list[dict[str, Any]]:
    return manifests(Topology(kind=kind, image="forge:1", namespace="team"), "/ckpt/run", {})


@pytest.mark.parametrize(
    ("kind", "made"),
    [
        ("k8s_job", ["create_namespaced_config_map", "create_namespaced_service", "create_namespaced_job"]),
        ("k8s_pytorchjob", ["create_namespaced_config_map", "create_namespaced_custom_object"]),
        ("k8s_trainjob", ["create_namespaced_config_map", *["create_namespaced_custom_object"] * 2]),
    ],
)
def test_everything_is_made_in_order(calls: list[Any], kind: str, made: list[str]) -> None:
    said = list(apply(documents(kind)))
    assert [name for name, _ in calls] == made
    assert said[0] == "ConfigMap forge created"
    assert all("team" in words for _, words in calls)


def test_a_thing_of_an_operator_is_called_by_its_group(calls: list[Any]) -> None:
    job = documents("k8s_pytorchjob")[1]
    assert list(apply([job])) == ["PyTorchJob forge created"]
    assert calls[0][1] == ("kubeflow.org", "v1", "team", "pytorchjobs", job)
    assert list(remove([job])) == ["PyTorchJob forge deleted"]
    gone = ("kubeflow.org", "v1", "team", "pytorchjobs", "forge", "Background")  # the pods go, too
    assert calls[1] == ("delete_namespaced_custom_object", gone)


def test_everything_is_deleted_the_last_first(calls: list[Any]) -> None:
    assert list(remove(documents("k8s_job"))) == [
        "Job forge deleted",
        "Service forge deleted",
        "ConfigMap forge deleted",
    ]
    assert calls[0] == ("delete_namespaced_job", ("forge", "team", "Background"))


def test_what_the_cluster_refuses_is_told(calls: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    assert calls == []
    api = sys.modules["kubernetes.client"].Api
    monkeypatch.setattr(api, "refuse", "create_namespaced_job")
    with pytest.raises(ToolError, match=r"Job forge was refused: Forbidden\n.*no quota"):
        list(apply(documents("k8s_job")))
    monkeypatch.setattr(api, "refuse", "delete_namespaced_service")
    with pytest.raises(ToolError, match="Service forge stays"):
        list(remove(documents("k8s_job")))
    monkeypatch.setattr(api, "status", 404)
    assert list(remove(documents("k8s_job"))) == ["Job forge deleted", "ConfigMap forge deleted"]


def test_what_pods_print(calls: list[Any]) -> None:
    assert list(pod_logs(documents("k8s_job")[-1])) == [("pod-0", "hello")]
    assert calls[0] == ("list_namespaced_pod", ("team", "job-name=forge"))


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """An API server that the real client speaks with."""
    pytest.importorskip("kubernetes", reason="the official client is not installed")
    made = Cluster(tmp_path)
    name_kubeconfig(monkeypatch, str(made.kubeconfig(tmp_path / "kubeconfig")))
    yield made
    made.close()


def name_kubeconfig(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    """Do what KUBECONFIG does, which the client has read when it was imported."""
    for module in ("kubernetes.config", "kubernetes.config.kube_config"):
        monkeypatch.setattr(import_module(module), "KUBE_CONFIG_DEFAULT_LOCATION", path)


SLEEPS = [sys.executable, "-c", "import sys, time; print('one'); print('two', flush=True); time.sleep(60)"]


@pytest.mark.parametrize("kind", ["k8s_job", "k8s_pytorchjob", "k8s_trainjob"])
def test_the_real_client_makes_looks_at_and_deletes(cluster: Cluster, until: Until, kind: str) -> None:
    all_of_it = documents(kind)
    job = all_of_it[-1]
    assert len(list(apply(all_of_it))) == len(cluster.objects) == len(all_of_it)
    with pytest.raises(ToolError, match=r"ConfigMap forge was refused: Conflict"):
        list(apply(all_of_it))
    assert (job_condition(job), pods(job)) == ("", [])
    cluster.start("forge-0", SLEEPS)
    until(lambda: list(pod_logs(job)) == [("forge-0", "one\ntwo\n")])
    assert list(pod_logs(job, 1)) == [("forge-0", "two\n")]
    assert list(follow_pod(job, "forge-0")) == ["one", "two"]
    assert (job_condition(job), pods(job)) == ("Running", [PodState("forge-0", "Running", None)])
    said: list[str] = []
    program = "import sys; print('heard', sys.argv[1]); sys.stderr.write('!'); sys.exit(3)"
    assert run_in_pod(job, "forge-0", [sys.executable, "-c", program, "a b"], said.append) == 3
    assert "".join(said) == "heard a b\n!"
    assert run_in_pod(job, "forge-0", ["true"], said.append) == 0
    end_pods(job)
    assert (cluster.grace, pods(job)) == (["0"], [])
    assert len(list(remove(all_of_it))) == len(all_of_it)
    assert cluster.propagation == ["Background"] * len(all_of_it)
    assert (cluster.objects, job_condition(job), list(remove(all_of_it))) == ({}, None, [])


def test_how_a_real_job_ended(cluster: Cluster, until: Until) -> None:
    job = documents("k8s_job")[-1]
    list(apply([job]))
    for code, condition in ((0, "Complete"), (3, "Failed")):
        cluster.start("forge-0", [sys.executable, "-c", f"raise SystemExit({code})"])
        until(lambda: pods(job)[0].code is not None)
        assert (pods(job)[0].code, job_condition(job)) == (code, condition)
    cluster.forbidden = "ConfigMap"
    with pytest.raises(ToolError, match=r"was refused: Forbidden\n.*no quota"):
        list(apply(documents("k8s_job")))


def test_without_a_kubeconfig_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("kubernetes", reason="the official client is not installed")
    name_kubeconfig(monkeypatch, "/no/such/file")
    with pytest.raises(ToolError, match="no cluster is known"):
        pods(documents("k8s_job")[-1])


def test_without_the_client_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(k8s_client, "find_spec", lambda _: None)
    assert "forge[k8s]" in client_missing()
    monkeypatch.setattr(k8s_client, "find_spec", lambda _: object())
    assert client_missing() == ""
