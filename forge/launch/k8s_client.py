"""Manifests and a cluster of Kubernetes: apply, see what pods print, and delete, through the official client where it is installed."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

from forge.base.errors import ToolError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["apply", "client_missing", "pod_logs", "remove"]

_PLURALS: Final = {"PyTorchJob": "pytorchjobs", "TrainJob": "trainjobs", "TrainingRuntime": "trainingruntimes"}
_CORE: Final = {
    "ConfigMap": ("CoreV1Api", "config_map"),
    "Service": ("CoreV1Api", "service"),
    "Job": ("BatchV1Api", "job"),
}
_SELECTORS: Final = {
    "PyTorchJob": "training.kubeflow.org/job-name={}",
    "TrainJob": "jobset.sigs.k8s.io/jobset-name={}",
    "Job": "job-name={}",
}
_NOT_FOUND: Final = 404


def client_missing() -> str:
    """Why nothing can be applied from here; empty when it can."""
    return (
        "" if find_spec("kubernetes") else "the official client of Kubernetes is not installed: pip install kubernetes"
    )


def apply(documents: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Make what the manifests describe, in their order; a line for each. ToolError when the cluster refuses one."""
    client = _client()
    for document in documents:
        create = _call(client, "create", document)
        try:
            create(document)
        except client.ApiException as error:
            raise ToolError(f"{_name(document)} was refused: {error.reason}", hint=_body(error)) from error
        yield f"{_name(document)} created"


def remove(documents: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Delete it again, the last first: the pods get TERM, and KILL after their grace."""
    client = _client()
    for document in reversed(documents):
        delete = _call(client, "delete", document)
        try:
            delete(document["metadata"]["name"])
        except client.ApiException as error:
            if error.status == _NOT_FOUND:
                continue
            raise ToolError(f"{_name(document)} stays: {error.reason}", hint=_body(error)) from error
        yield f"{_name(document)} deleted"


def pod_logs(document: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What the pods of a job have printed: the name of each, and its text."""
    client = _client()
    core = client.CoreV1Api()
    namespace = document["metadata"]["namespace"]
    selector = _SELECTORS[document["kind"]].format(document["metadata"]["name"])
    for pod in core.list_namespaced_pod(namespace, label_selector=selector).items:
        yield pod.metadata.name, core.read_namespaced_pod_log(pod.metadata.name, namespace)


def _client() -> Any:
    import_module("kubernetes.config").load_config()  # an extra of its own
    return import_module("kubernetes.client")


def _call(client: Any, verb: str, document: dict[str, Any]) -> Any:
    """The call of the client that makes or deletes this kind of thing."""
    namespace, kind = document["metadata"]["namespace"], document["kind"]
    if kind in _CORE:
        api, noun = _CORE[kind]
        method = getattr(getattr(client, api)(), f"{verb}_namespaced_{noun}")
        return (lambda body: method(namespace, body)) if verb == "create" else (lambda name: method(name, namespace))
    group, _, version = document["apiVersion"].partition("/")
    method = getattr(client.CustomObjectsApi(), f"{verb}_namespaced_custom_object")
    return lambda what: method(group, version, namespace, _PLURALS[kind], what)


def _name(document: dict[str, Any]) -> str:
    return f"{document['kind']} {document['metadata']['name']}"


def _body(error: Any) -> str | None:
    return str(error.body)[:500] if error.body else None
