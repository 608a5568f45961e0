"""A run on Kubernetes: the manifests, made from a topology and the frozen config and nothing else.

The frozen config travels in a ConfigMap, so that what is applied is whole: each pod copies it into the run folder, which lies on a
volume that all pods share. torchrun is told where it is by the variables that the operator, or the Job, sets in each pod.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any, Final

from forge.launch.address import Endpoint
from forge.launch.agent import AGENT
from forge.launch.process import SAFE
from forge.launch.torchrun import TRAINS, Meeting

if TYPE_CHECKING:
    from collections.abc import Mapping

    from forge.launch.topology import Topology

__all__ = ["CONFIG_FOLDER", "as_yaml", "manifests"]

_Manifest = dict[str, Any]

CONFIG_FOLDER: Final = "/etc/forge/run"
"""Where a pod finds the frozen config."""
_PORT: Final = 29500
_PYTORCHJOB_PORT: Final = 23456
_GRACE: Final = 120  # seconds from TERM to KILL: a last checkpoint has to fit in
_PATIENCE: Final = 600  # seconds in which all pods have to come: each fetches the image for itself
_FINAL: Final = [2, 3]  # a mistake in the config is one the second time too, and who stops a run does not want it again
_AGAIN: Final = 143  # for the operator, codes above 127 are worth another try
_LABEL: Final = "app.kubernetes.io/managed-by"
_QUEUE: Final = "kueue.x-k8s.io/queue-name"
_INDEX: Final = "metadata.annotations['batch.kubernetes.io/job-completion-index']"
_SHARED_MEMORY: Final = "/dev/shm"  # noqa: S108 - a mount of the pod's own
_GPU: Final = "nvidia.com/gpu"
# A text that is one without quotes to every reader of YAML: to some of them 1e3 is a number, and y is true.
_BARE: Final = re.compile(r"[A-Za-z][A-Za-z0-9]|/")


def manifests(topology: Topology, run_folder: str, files: Mapping[str, str]) -> list[_Manifest]:
    """What has to be applied for a run in a folder on a mounted volume; ``files`` are those of the frozen config."""
    made = {
        "k8s_pytorchjob": _pytorch_job,
        "k8s_pytorchjob_elastic": _elastic_job,
        "k8s_trainjob": _train_job,
        "k8s_job": _indexed_job,
    }
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": _metadata(topology), "data": dict(files)}
    return [config, *made[topology.kind](topology, run_folder)]


def as_yaml(documents: list[_Manifest]) -> str:
    """The manifests as one file."""
    import yaml

    return "---\n".join(yaml.dump(document, Dumper=_dumper(), sort_keys=False, width=1000) for document in documents)


def _dumper() -> type[Any]:
    """One that writes texts of several lines as such, and repeats what occurs twice instead of pointing at it."""
    import yaml

    class Dumper(yaml.SafeDumper):
        def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - whatever it is
            return True

    def text(dumper: yaml.SafeDumper, value: str) -> yaml.Node:
        style = "|" if "\n" in value else None if _BARE.match(value) else "'"
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)

    Dumper.add_representer(str, text)
    return Dumper


def _metadata(topology: Topology, *, queued: bool = False) -> _Manifest:
    labels = {_LABEL: "forge", **({_QUEUE: topology.queue} if queued and topology.queue else {})}
    return {"name": topology.job_name, "namespace": topology.namespace or "default", "labels": labels}


def _pytorch_job(topology: Topology, run_folder: str) -> list[_Manifest]:
    replicas = {"Master": _replica(topology, run_folder, 1)}
    if topology.nodes > 1:
        replicas["Worker"] = _replica(topology, run_folder, topology.nodes - 1)
    spec = {
        "nprocPerNode": str(topology.nproc_per_node),  # a text, as the schema has it
        "runPolicy": _run_policy(topology),
        "pytorchReplicaSpecs": replicas,
    }
    return [_kubeflow(topology, spec)]


def _elastic_job(topology: Topology, run_folder: str) -> list[_Manifest]:
    policy = {
        "rdzvBackend": "c10d",
        "minReplicas": topology.min_nodes,
        "maxReplicas": topology.max_nodes,
        "maxRestarts": topology.max_restarts,
        "rdzvId": topology.rdzv_id or topology.job_name,
    }
    spec = {
        "nprocPerNode": str(topology.nproc_per_node),
        "elasticPolicy": policy,
        "runPolicy": _run_policy(topology),
        "pytorchReplicaSpecs": {"Worker": _replica(topology, run_folder, topology.nodes)},
    }
    return [_kubeflow(topology, spec)]


def _kubeflow(topology: Topology, spec: _Manifest) -> _Manifest:
    metadata = _metadata(topology, queued=True)
    return {"apiVersion": "kubeflow.org/v1", "kind": "PyTorchJob", "metadata": metadata, "spec": spec}


def _run_policy(topology: Topology) -> _Manifest:
    # What Kueue looks after begins suspended, and Kueue lets it go.
    queued = {"suspend": True} if topology.queue else {}
    return {"cleanPodPolicy": "None", "backoffLimit": topology.max_restarts, **_deadline(topology), **queued}


def _replica(topology: Topology, run_folder: str, count: int) -> _Manifest:
    port = {"name": "pytorchjob-port", "containerPort": _PYTORCHJOB_PORT}
    container = {**_container(topology, run_folder, "pytorch"), "ports": [port]}
    # Codes up to 127 are final.
    return {"replicas": count, "restartPolicy": "ExitCode", "template": {"spec": _pod(topology, container)}}


def _train_job(topology: Topology, run_folder: str) -> list[_Manifest]:
    container = _container(topology, run_folder, "node")
    resources = container.pop("resources", None)
    mounted = {"name": "node", "volumeMounts": container.pop("volumeMounts")}
    pod = {name: value for name, value in _pod(topology, mounted).items() if name != "restartPolicy"}
    trainer = {
        "image": container["image"],
        "command": container["command"],
        "numNodes": topology.nodes,
        "numProcPerNode": topology.nproc_per_node,
        **({"resourcesPerNode": resources} if resources else {}),
        **({"env": container["env"]} if container.get("env") else {}),
    }
    spec = {
        "runtimeRef": {
            "apiGroup": "trainer.kubeflow.org",
            "kind": "TrainingRuntime",
            "name": topology.runtime or topology.job_name,
        },
        **({"suspend": True} if topology.queue else {}),
        **_deadline(topology),
        "trainer": trainer,
        **_overrides(topology, pod),
    }
    job = {
        "apiVersion": "trainer.kubeflow.org/v1alpha1",
        "kind": "TrainJob",
        "metadata": _metadata(topology, queued=True),
        "spec": spec,
    }
    if topology.runtime:
        spec["runtimeRef"]["kind"] = "ClusterTrainingRuntime"
        return [job]
    return [_runtime(topology), job]


def _overrides(topology: Topology, pod: _Manifest) -> _Manifest:
    """What the pods of a TrainJob have besides their runtime; the key has another name in each release of the operator."""
    if topology.trainer_version == "2.1":
        return {"podTemplateOverrides": [{"targetJobs": [{"name": "node"}], "spec": pod}]}
    job = {"name": "node", "template": {"spec": {"template": {"spec": pod}}}}
    patch = {"template": {"spec": {"replicatedJobs": [job]}}}
    return {"runtimePatches": [{"manager": "forge.dev/launch", "trainingRuntimeSpec": patch}]}


def _runtime(topology: Topology) -> _Manifest:
    """A runtime of the run's own: all pods are started again together when one has failed."""
    job = {
        "name": "node",
        "template": {
            "metadata": {"labels": {"trainer.kubeflow.org/trainjob-ancestor-step": "trainer"}},
            "spec": {
                "backoffLimit": 0,
                "podFailurePolicy": _final(),
                "template": {
                    "spec": {"restartPolicy": "Never", "containers": [{"name": "node", "image": topology.image}]}
                },
            },
        },
    }
    template = {
        "spec": {
            "failurePolicy": {
                "maxRestarts": topology.max_restarts,
                "rules": [{"name": "final", "action": "FailJobSet", "onJobFailureReasons": ["PodFailurePolicy"]}],
            },
            "network": {"publishNotReadyAddresses": True},
            "replicatedJobs": [job],
        }
    }
    metadata = _metadata(topology)
    metadata["labels"] = {**metadata["labels"], "trainer.kubeflow.org/framework": "torch"}
    return {
        "apiVersion": "trainer.kubeflow.org/v1alpha1",
        "kind": "TrainingRuntime",
        "metadata": metadata,
        "spec": {"mlPolicy": {"numNodes": topology.nodes, "torch": {}}, "template": template},
    }


def _indexed_job(topology: Topology, run_folder: str) -> list[_Manifest]:
    name = topology.job_name
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(topology),
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,  # pods meet before they are ready
            "selector": {"job-name": name},
            "ports": [{"name": "rendezvous", "port": _PORT}],
        },
    }
    where = {
        "PET_NNODES": str(topology.nodes),
        "PET_NPROC_PER_NODE": str(topology.nproc_per_node),
        "PET_MASTER_ADDR": _pod_names(topology)[0],
        "PET_MASTER_PORT": str(_PORT),
    }
    container = _container(topology, run_folder, "node")
    number = {"name": "PET_NODE_RANK", "valueFrom": {"fieldRef": {"fieldPath": _INDEX}}}
    container["env"] = [*container.get("env", []), *_variables(where), number]
    pod = {**_pod(topology, container), "subdomain": name, "restartPolicy": "Never"}
    spec = {
        "completionMode": "Indexed",
        "completions": topology.nodes,
        "parallelism": topology.nodes,
        "backoffLimit": topology.max_restarts,
        **_deadline(topology),
        **({"suspend": True} if topology.queue else {}),
        "podFailurePolicy": _final(),
        "template": {"spec": pod},
    }
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": _metadata(topology, queued=True), "spec": spec}
    return [service, job]


def _final() -> _Manifest:
    return {"rules": [{"action": "FailJob", "onExitCodes": {"operator": "In", "values": _FINAL}}]}


def _deadline(topology: Topology) -> _Manifest:
    return {} if topology.time is None else {"activeDeadlineSeconds": topology.seconds}


def _container(topology: Topology, run_folder: str, name: str) -> _Manifest:
    python = topology.python or "python"
    agent = [python, *AGENT, "-m", "forge.launch.rank", TRAINS, run_folder]
    node = [python, "-m", "forge.launch.node", "--from", CONFIG_FOLDER, "--again", str(_AGAIN)]
    command = [*node, *_roll_call(topology, run_folder), run_folder, *agent]
    mounts = [
        {"name": "run", "mountPath": CONFIG_FOLDER, "readOnly": True},
        {"name": "shm", "mountPath": _SHARED_MEMORY},
    ]
    volumes = _claimed(topology)
    for mount in topology.mounts:
        read_only = {"readOnly": True} if mount.read_only else {}
        mounts.append({"name": volumes[mount.claim], "mountPath": mount.path, **read_only})
    return {
        "name": name,
        "image": topology.image,
        "command": list(map(_as_it_is, command)),
        "env": _variables({**SAFE, **topology.env}),
        **_resources(topology),
        "volumeMounts": mounts,
    }


def _roll_call(topology: Topology, run_folder: str) -> list[str]:
    """What lets the pods find out who of them is missing; there are none to miss where they come and go."""
    if topology.nodes == 1 or topology.elastic:
        return []
    names = _pod_names(topology)
    port = _PYTORCHJOB_PORT if topology.kind == "k8s_pytorchjob" else _PORT
    meeting = Meeting(Endpoint(names[0], port), topology.nodes, os.path.basename(run_folder), None, None, names)
    return [*meeting.words(), "--patience", str(_PATIENCE)]


def _pod_names(topology: Topology) -> tuple[str, ...]:
    """What the pods are called by one another, in their order: the services of an operator give each a name."""
    name, nodes = topology.job_name, range(topology.nodes)
    if topology.kind == "k8s_pytorchjob":
        return (f"{name}-master-0", *(f"{name}-worker-{number}" for number in nodes[:-1]))
    step = "node-0-" if topology.kind == "k8s_trainjob" else ""
    return tuple(f"{name}-{step}{number}.{name}" for number in nodes)


def _variables(values: Mapping[str, str]) -> list[_Manifest]:
    return [{"name": name, "value": _as_it_is(value)} for name, value in values.items()]


def _as_it_is(value: str) -> str:
    """A text that a container gets as it is: Kubernetes reads ``$(NAME)`` as a reference, and two dollars as one."""
    return value.replace("$", "$$")


def _resources(topology: Topology) -> _Manifest:
    asked = {_GPU: topology.gpus_per_node, "cpu": topology.cpus_per_node, "memory": topology.memory_per_node}
    limits = {name: str(value) for name, value in asked.items() if value}
    return {"resources": {"limits": limits, "requests": limits}} if limits else {}


def _claimed(topology: Topology) -> dict[str, str]:
    """The volume of each claim: a claim may be called as nothing else may, or as one of the volumes that are here anyway."""
    claims = dict.fromkeys(mount.claim for mount in topology.mounts)
    return {claim: f"claim-{number}" for number, claim in enumerate(claims)}


def _pod(topology: Topology, container: _Manifest) -> _Manifest:
    volumes: list[_Manifest] = [
        {"name": "run", "configMap": {"name": topology.job_name}},
        {"name": "shm", "emptyDir": {"medium": "Memory"}},  # the default of 64 MB ends NCCL and data workers
        *({"name": name, "persistentVolumeClaim": {"claimName": claim}} for claim, name in _claimed(topology).items()),
    ]
    return {
        "terminationGracePeriodSeconds": _GRACE,
        "containers": [container],
        "volumes": volumes,
        **({"nodeSelector": dict(topology.node_selector)} if topology.node_selector else {}),
    }
