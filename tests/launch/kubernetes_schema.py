"""Strict JSON schemas for manifests: from the operators' published definitions where they are at hand, and a short one of our own."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

PUBLISHED = Path(__file__).parents[3] / "shared" / "k8s"
FILES = {
    "PyTorchJob": "kubeflow.org_pytorchjobs.yaml",
    "TrainJob": "trainer.kubeflow.org_trainjobs.yaml",
    "TrainingRuntime": "trainer.kubeflow.org_trainingruntimes.yaml",
}
NAME = {"type": "string", "pattern": "^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$"}
CLAIM = {"type": "string", "pattern": "^[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?$"}
COUNT = {"type": "integer", "minimum": 0}


def thing(required: list[str], **properties: Any) -> dict[str, Any]:
    """An object with these fields and no others."""
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def several(item: dict[str, Any]) -> dict[str, Any]:
    """A list of at least one."""
    return {"type": "array", "items": item, "minItems": 1}


TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
METADATA = thing(["name"], name=NAME, namespace=NAME, labels=TEXTS)
VARIABLE = thing(
    ["name"],
    name={"type": "string"},
    value={"type": "string"},
    valueFrom=thing(["fieldRef"], fieldRef=thing(["fieldPath"], fieldPath={"type": "string"})),
)
CONTAINER = thing(
    ["name", "image", "command", "volumeMounts"],
    name=NAME,
    image={"type": "string"},
    command=several({"type": "string"}),
    env=several(VARIABLE),
    resources=thing(["limits", "requests"], limits=TEXTS, requests=TEXTS),
    volumeMounts=several(
        thing(
            ["name", "mountPath"],
            name=NAME,
            mountPath={"type": "string", "pattern": "^/"},
            readOnly={"type": "boolean"},
        )
    ),
)
POD = thing(
    ["containers", "volumes", "terminationGracePeriodSeconds"],
    containers=several(CONTAINER),
    volumes=several(
        thing(
            ["name"],
            name=NAME,
            configMap=thing(["name"], name=NAME),
            emptyDir=thing([], medium={"enum": ["Memory"]}),
            persistentVolumeClaim=thing(["claimName"], claimName=CLAIM),
        )
    ),
    terminationGracePeriodSeconds=COUNT,
    subdomain=NAME,
    restartPolicy={"enum": ["Never"]},
    nodeSelector=TEXTS,
)
RULE = thing(
    ["action", "onExitCodes"],
    action={"enum": ["FailJob"]},
    onExitCodes=thing(
        ["operator", "values"], operator={"enum": ["In"]}, values=several({"type": "integer", "minimum": 1})
    ),
)


def whole(version: str, kind: str, **rest: Any) -> dict[str, Any]:
    """The schema of a manifest."""
    return thing(
        ["apiVersion", "kind", "metadata", *rest],
        apiVersion={"const": version},
        kind={"const": kind},
        metadata=METADATA,
        **rest,
    )


CORE = {
    "ConfigMap": whole("v1", "ConfigMap", data=TEXTS),
    "Service": whole(
        "v1",
        "Service",
        spec=thing(
            ["clusterIP", "selector", "ports", "publishNotReadyAddresses"],
            clusterIP={"const": "None"},
            publishNotReadyAddresses={"const": True},
            selector=TEXTS,
            ports=several(thing(["port"], name=NAME, port={"type": "integer", "maximum": 65535})),
        ),
    ),
    "Job": whole(
        "batch/v1",
        "Job",
        spec=thing(
            ["completionMode", "completions", "parallelism", "template"],
            completionMode={"const": "Indexed"},
            completions=COUNT,
            parallelism=COUNT,
            backoffLimit=COUNT,
            activeDeadlineSeconds=COUNT,
            suspend={"type": "boolean"},
            podFailurePolicy=thing(["rules"], rules=several(RULE)),
            template=thing(["spec"], spec=POD),
        ),
    ),
}


@lru_cache
def schema(kind: str) -> dict[str, Any] | None:
    """The schema of a kind; None for one of an operator whose definitions are not at hand."""
    if kind in CORE:
        return CORE[kind]
    path = PUBLISHED / FILES[kind]
    if not path.exists():
        return None
    definition = yaml.load(path.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - a safe one either way
    versions = definition["spec"]["versions"]
    return strict(versions[0]["schema"]["openAPIV3Schema"], top=True)


def strict(node: Any, *, top: bool = False) -> Any:
    """A definition as a JSON schema in which no field is allowed that is not named."""
    if isinstance(node, list):
        return [strict(item) for item in node]
    if not isinstance(node, dict):
        return node
    if node.get("x-kubernetes-int-or-string"):
        return {"anyOf": [{"type": "integer"}, {"type": "string"}]}
    found = {
        key: ({name: strict(value) for name, value in inner.items()} if key == "properties" else strict(inner))
        for key, inner in node.items()
        if not key.startswith("x-kubernetes") and key not in {"description", "default", "format"}
    }
    if top:
        found["properties"]["metadata"] = {"type": "object"}
    if "properties" in found and not node.get("x-kubernetes-preserve-unknown-fields"):
        found["additionalProperties"] = False
    return found
