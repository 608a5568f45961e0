"""The official client, as far as forge calls it: a stand-in that has its names, since there is no cluster here."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from forge.base.errors import ToolError
from forge.launch import k8s_client
from forge.launch.k8s import manifests
from forge.launch.k8s_client import apply, client_missing, pod_logs, remove
from forge.launch.topology import Topology


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

        def __getattr__(self, name: str) -> Any:
            def call(*words: Any, **named: Any) -> Any:
                made.append((name, (*words, *named.values())))
                if name == Api.refuse:
                    raise RefusedError(Api.status, "Forbidden")
                if name == "list_namespaced_pod":
                    return SimpleNamespace(items=[SimpleNamespace(metadata=SimpleNamespace(name="pod-0"))])
                return "hello"

            return call

    client, config = ModuleType("kubernetes.client"), ModuleType("kubernetes.config")
    for name in ("CoreV1Api", "BatchV1Api", "CustomObjectsApi"):
        setattr(client, name, Api)
    client.ApiException = RefusedError  # type: ignore[attr-defined]
    client.Api = Api  # type: ignore[attr-defined]
    config.load_config = lambda: None  # type: ignore[attr-defined]
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
    assert calls[1] == ("delete_namespaced_custom_object", ("kubeflow.org", "v1", "team", "pytorchjobs", "forge"))


def test_everything_is_deleted_the_last_first(calls: list[Any]) -> None:
    assert list(remove(documents("k8s_job"))) == [
        "Job forge deleted",
        "Service forge deleted",
        "ConfigMap forge deleted",
    ]
    assert calls[0] == ("delete_namespaced_job", ("forge", "team"))


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


def test_without_the_client_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(k8s_client, "find_spec", lambda _: None)
    assert "pip install kubernetes" in client_missing()
    monkeypatch.setattr(k8s_client, "find_spec", lambda _: object())
    assert client_missing() == ""
