"""Manifests and a cluster of Kubernetes: apply, see what pods print, and delete, through the official client where it is installed."""

from __future__ import annotations

from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from forge.base.errors import ToolError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = [
    "PodState",
    "apply",
    "client_missing",
    "end_pods",
    "follow_pod",
    "job_condition",
    "map_files",
    "pod_logs",
    "pods",
    "remove",
    "run_in_pod",
]

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
_NOT_STARTED: Final = 400
_LOOK: Final = 1.0
_LAST: Final = ("Failed", "Complete", "Succeeded")  # conditions behind which nothing comes


class PodState(NamedTuple):
    """A pod: its name, its phase, and the exit code of its container when that has ended."""

    name: str
    phase: str
    code: int | None


def client_missing() -> str:
    """Why nothing can be applied from here; empty when it can."""
    return (
        ""
        if find_spec("kubernetes")
        else 'the official client of Kubernetes is not installed: pip install "forge[k8s]"'
    )


def apply(documents: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Make what the manifests describe, in their order; a line for each. ToolError when the cluster refuses one."""
    for document in documents:
        with _cluster(f"{_name(document)} was refused") as (client, api):
            _call(client, api, "create", document)(document)
        yield f"{_name(document)} created"


def remove(documents: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Delete it again, the last first: the pods get TERM, and KILL after their grace."""
    for document in reversed(documents):
        with _cluster(f"{_name(document)} stays", unless=_NOT_FOUND) as (client, api):
            _call(client, api, "delete", document)(document["metadata"]["name"])
            yield f"{_name(document)} deleted"


def map_files(document: dict[str, Any]) -> dict[str, str]:
    """The files that a ConfigMap holds; none when it is gone."""
    files: dict[str, str] = {}
    with _cluster(f"{_name(document)} cannot be read", unless=_NOT_FOUND) as (client, api):
        files.update(_call(client, api, "read", document)(document["metadata"]["name"]).data or {})
    return files


def end_pods(document: dict[str, Any]) -> None:
    """End the pods of a job that is deleted, at once: KILL without a grace."""
    with _cluster(f"the pods of {_name(document)} stay") as (client, api):
        client.CoreV1Api(api).delete_collection_namespaced_pod(
            _namespace(document), label_selector=_selector(document), grace_period_seconds=0
        )


def pods(document: dict[str, Any]) -> list[PodState]:
    """The pods of a job by their names."""
    with _cluster(f"the pods of {_name(document)} cannot be listed") as (client, api):
        found = client.CoreV1Api(api).list_namespaced_pod(_namespace(document), label_selector=_selector(document))
        return sorted(PodState(pod.metadata.name, str(pod.status.phase), _exit_code(pod)) for pod in found.items)


def pod_logs(document: dict[str, Any], lines: int | None = None) -> Iterator[tuple[str, str]]:
    """What the pods of a job have printed, all of it or the last lines: the name of each, and its text."""
    more = {} if lines is None else {"tail_lines": lines}
    for pod in pods(document):
        # One whose image is being fetched has no log.
        with _cluster(f"the log of {pod.name} cannot be read", unless=_NOT_STARTED) as (client, api):
            yield pod.name, client.CoreV1Api(api).read_namespaced_pod_log(pod.name, _namespace(document), **more)


def follow_pod(document: dict[str, Any], pod: str, lines: int | None = None) -> Iterator[str]:
    """The lines of one pod as they come, until it ends."""
    more = {} if lines is None else {"tail_lines": lines}
    rest = b""
    with _cluster(f"the log of {pod} cannot be read") as (client, api):
        answer = client.CoreV1Api(api).read_namespaced_pod_log(
            pod, _namespace(document), follow=True, _preload_content=False, **more
        )
        try:
            for data in answer.stream():
                *whole, rest = (rest + data).split(b"\n")
                yield from (line.decode("utf-8", "replace") for line in whole)
        finally:
            answer.close()


def job_condition(document: dict[str, Any]) -> str | None:
    """The condition that holds of a job, such as ``Running``, ``Complete`` or ``Failed``; "" before any, None when it is gone."""
    status: dict[str, Any] | None = None
    with _cluster(f"{_name(document)} cannot be read", unless=_NOT_FOUND) as (client, api):
        read = _call(client, api, "read" if document["kind"] in _CORE else "get", document)
        status = api.sanitize_for_serialization(read(document["metadata"]["name"])).get("status") or {}
    if status is None:
        return None
    held = [one["type"] for one in status.get("conditions") or [] if one.get("status") == "True"]
    if held:
        return next((name for name in held if name in _LAST), str(held[-1]))
    return "Running" if status.get("active") else ""


def run_in_pod(document: dict[str, Any], pod: str, command: Sequence[str], write: Callable[[str], None]) -> int:
    """Run a command in a pod, let what it prints be written, and return its exit code."""
    shown = {"stdout": True, "stderr": True, "stdin": False, "tty": False, "_preload_content": False}
    with _cluster(f"nothing can be run in {pod}") as (client, api):
        execute = client.CoreV1Api(api).connect_get_namespaced_pod_exec
        stream = import_module("kubernetes.stream").stream
        ran = stream(execute, pod, _namespace(document), command=list(command), **shown)
        try:
            while ran.is_open():
                ran.update(timeout=_LOOK)
                for said in (ran.read_stdout, ran.read_stderr):
                    if text := said(timeout=0):
                        write(text)
            return 1 if ran.returncode is None else int(ran.returncode)
        finally:
            ran.sock.shutdown()  # its `close` leaves a socket open that the other side has closed


@contextmanager
def _cluster(failed: str, unless: int | None = None) -> Iterator[tuple[Any, Any]]:
    """The client's module, and its connection; what the cluster refuses inside is a ToolError, but for one status."""
    config, client = import_module("kubernetes.config"), import_module("kubernetes.client")  # an extra of its own
    try:
        config.load_config()
    except config.ConfigException as error:
        raise ToolError(f"no cluster is known: {error}", hint="name its kubeconfig: KUBECONFIG=FILE") from error
    api = client.ApiClient()
    try:
        yield client, api
    except client.ApiException as error:
        if error.status != unless:
            raise ToolError(f"{failed}: {error.reason}", hint=_body(error)) from error
    finally:
        api.rest_client.pool_manager.clear()  # it would leave its connections open


def _call(client: Any, api: Any, verb: str, document: dict[str, Any]) -> Any:
    """The call of the client that makes, reads or deletes this kind of thing."""
    namespace, kind = _namespace(document), document["kind"]
    # Pods are deleted with what has made them; those of a Job would stay, and run on, unless that is said.
    more = {"propagation_policy": "Background"} if verb == "delete" else {}
    if kind in _CORE:
        group, noun = _CORE[kind]
        method = getattr(getattr(client, group)(api), f"{verb}_namespaced_{noun}")
        if verb == "create":
            return lambda body: method(namespace, body)
        return lambda name: method(name, namespace, **more)
    group, _, version = document["apiVersion"].partition("/")
    method = getattr(client.CustomObjectsApi(api), f"{verb}_namespaced_custom_object")
    return lambda what: method(group, version, namespace, _PLURALS[kind], what, **more)


def _exit_code(pod: Any) -> int | None:
    """The exit code of a pod's one container, once it has ended."""
    ended = [one.state.terminated for one in pod.status.container_statuses or [] if one.state and one.state.terminated]
    return int(ended[0].exit_code) if ended else None


def _namespace(document: dict[str, Any]) -> str:
    return str(document["metadata"]["namespace"])


def _selector(document: dict[str, Any]) -> str:
    return _SELECTORS[document["kind"]].format(document["metadata"]["name"])


def _name(document: dict[str, Any]) -> str:
    return f"{document['kind']} {document['metadata']['name']}"


def _body(error: Any) -> str | None:
    return str(error.body)[:500] if error.body else None
