"""Every operator's pods as it makes them of our manifests, each a host of its own with the operator's variables and names: the world forms."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import namespaces
import pytest
from clusters import FULL, demand, ended, surroundings, wait_for
from namespaces import Network

from forge.launch.agent import AGENT
from forge.launch.k8s import CONFIG_FOLDER, manifests
from forge.launch.topology import Mount, Topology

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import TypeAlias

    Part: TypeAlias = tuple[subprocess.Popen[str], Path]

pytestmark = [pytest.mark.slow, pytest.mark.torch, pytest.mark.timeout(600)]
pytest.importorskip("torch")
JOB = "forge-sft"
Manifest = dict[str, Any]


class Pod(NamedTuple):
    """What a pod runs: its host name, the name that others know it by, its command and its variables."""

    host: str
    name: str
    command: list[str]
    variables: dict[str, str]


def _own(container: Manifest, index: int = 0) -> dict[str, str]:
    """The variables that the manifest itself names; of what a pod says of itself, its index in the job is all that is asked for."""
    found = {entry["name"]: entry.get("value", str(index)) for entry in container.get("env", [])}
    for entry in container.get("env", []):
        field = entry.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath")
        assert field in (None, "metadata.annotations['batch.kubernetes.io/job-completion-index']")
    return found


def pytorch_pods(job: Manifest, _: Manifest) -> list[Pod]:
    """As the Training Operator 1.9 does it: a service for each pod, and its variables in every container."""
    spec = job["spec"]
    replicas, nproc = spec["pytorchReplicaSpecs"], int(spec["nprocPerNode"])
    places = [(kind.lower(), number) for kind, one in replicas.items() for number in range(one["replicas"])]
    pods = []
    for node, (kind, number) in enumerate(places):
        (container,) = replicas[kind.capitalize()]["template"]["spec"]["containers"]
        name = f"{JOB}-{kind}-{number}"
        variables = {"PYTHONUNBUFFERED": "1", "PET_NPROC_PER_NODE": spec["nprocPerNode"]}
        if "Master" in replicas:
            where = {"MASTER_ADDR": f"{JOB}-master-0", "MASTER_PORT": "23456"}
            variables |= where | {f"PET_{variable}": value for variable, value in where.items()}
            variables |= {"WORLD_SIZE": str(len(places) * nproc), "RANK": str(node), "PET_NODE_RANK": str(node)}
        if policy := spec.get("elasticPolicy"):
            variables |= {
                "PET_RDZV_ENDPOINT": f"{JOB}-worker-0:23456",
                "PET_RDZV_BACKEND": policy["rdzvBackend"],
                "PET_NNODES": f"{policy['minReplicas']}:{policy['maxReplicas']}",
                "PET_MAX_RESTARTS": str(policy["maxRestarts"]),
                "PET_RDZV_ID": policy["rdzvId"],
            }
        else:
            variables["PET_NNODES"] = str(len(places))
        pods.append(Pod(name, name, container["command"], {**_own(container), **variables}))
    return pods


def train_pods(job: Manifest, runtime: Manifest) -> list[Pod]:
    """As Trainer 2.1 and 2.2 do it: a JobSet of the runtime with the job's own trainer, and a service for all."""
    trainer = job["spec"]["trainer"]
    assert [one["name"] for one in runtime["spec"]["template"]["spec"]["replicatedJobs"]] == ["node"]
    variables = {
        "PET_NNODES": str(trainer["numNodes"]),
        "PET_NPROC_PER_NODE": str(trainer["numProcPerNode"]),
        "PET_MASTER_ADDR": f"{JOB}-node-0-0.{JOB}",
        "PET_MASTER_PORT": "29500",
    }
    names = [f"{JOB}-node-0-{index}" for index in range(trainer["numNodes"])]
    return [
        Pod(name, f"{name}.{JOB}", trainer["command"], {**_own(trainer), **variables, "PET_NODE_RANK": str(index)})
        for index, name in enumerate(names)
    ]


def indexed_pods(job: Manifest, service: Manifest) -> list[Pod]:
    """As Kubernetes itself does it: an index for each pod, and names below those of the service."""
    template = job["spec"]["template"]["spec"]
    (container,) = template["containers"]
    assert template["subdomain"] == service["metadata"]["name"] == JOB
    names = [f"{JOB}-{index}" for index in range(job["spec"]["completions"])]
    return [
        Pod(name, f"{name}.{JOB}", container["command"], _own(container, index)) for index, name in enumerate(names)
    ]


CASES = {
    "pytorchjob": ("k8s_pytorchjob", pytorch_pods, {}),
    "pytorchjob-elastic": ("k8s_pytorchjob_elastic", pytorch_pods, {"min_nodes": 1, "max_nodes": 2}),
    "trainjob-2.2": ("k8s_trainjob", train_pods, {"trainer_version": "2.2"}),
    "job": ("k8s_job", indexed_pods, {}),
}
if FULL:  # which has other keys, and starts the same
    CASES["trainjob-2.1"] = ("k8s_trainjob", train_pods, {"trainer_version": "2.1"})
TAKEN = list(CASES) if FULL else ["pytorchjob-elastic"]
LATE = {  # a pod that comes later than the others, and what these say meanwhile
    "pytorchjob": (1, "node 2 of 2 (forge-sft-worker-0)"),
    "trainjob-2.2": (0, "node 1 of 2 (forge-sft-node-0-0.forge-sft), where the nodes meet"),
}


class Cluster:
    """The pods of a job, each a host of its own."""

    def __init__(self, folder: Path, case: str) -> None:
        kind, made, changes = CASES[case]
        self.run, self.config = folder / "volume" / "run", folder / "config"
        self.config.mkdir()
        (self.config / "graph.json").write_text("{}")
        mounts = (Mount("ckpt", str(folder / "volume")),)
        base = {"nodes": 2, "nproc_per_node": 1, "image": "forge", "job_name": JOB, "mounts": mounts, "max_restarts": 1}
        topology = Topology(kind=kind, python=sys.executable, **{**base, **changes})
        *others, job = manifests(topology, str(self.run), {})
        self.pods = made(job, others[-1])
        self.folder = folder
        self.network = Network(folder / "hosts", [pod.host for pod in self.pods])

    def start(self, module: str, **changes: str) -> list[Part]:
        """Start all pods, with this module in place of the training."""
        return [self.start_one(number, module, **changes) for number in range(len(self.pods))]

    def start_one(
        self, number: int, module: str, torchrun: str = AGENT[-1], patience: str = "600", **variables: str
    ) -> Part:
        """Start one of them."""
        pod = self.pods[number]
        mounted = {CONFIG_FOLDER: str(self.config), "forge.ml.train": module, AGENT[-1]: torchrun, "600": patience}
        words = [mounted.get(word, word) for word in pod.command]
        log = self.folder / f"{pod.host}.txt"
        with log.open("w") as file:
            environment = surroundings(**variables, **pod.variables)
            process = self.network.start(pod.host, *words, env=environment, stdout=file, stderr=subprocess.STDOUT)
        return process, log

    def know(self) -> None:
        """Every pod has its own name in its file of hosts, and finds the others by those of the services."""
        addresses = self.network.addresses
        for pod in self.pods:
            others = "".join(f"{addresses[other.host]} {other.name}\n" for other in self.pods if other != pod)
            own = f"127.0.0.1 localhost\n{addresses[pod.host]} {pod.name} {pod.host}\n"
            self.network.knows(pod.host, own + others)

    def world(self) -> list[dict[str, Any]]:
        """What the ranks have found."""
        return [json.loads(path.read_text()) for path in sorted(self.run.glob("world-?.json"))]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Callable[[str], Cluster]]:
    """The pods of a job of this kind."""
    demand(*namespaces.PROGRAMS)
    begun: list[Network] = []

    def begin(case: str) -> Cluster:
        made = Cluster(tmp_path, case)
        begun.append(made.network)
        made.network.up()
        made.know()
        return made

    yield begin
    for network in begun:
        network.down()


@pytest.mark.parametrize("case", [case for case in CASES if FULL or case not in TAKEN])
def test_the_pods_of_a_job_form_a_world(cluster: Callable[[str], Cluster], case: str) -> None:
    found = cluster(case)
    assert len(found.pods) == 2
    late, name = LATE.get(case, (1, ""))
    process, log = there = found.start_one(1 - late, "gloo_rank", STEPS="1")
    if name:
        wait_for(lambda: f"waiting for {name}: 15 of 600 seconds" in log.read_text(), 60, "its name", process)
    said = [ended(*part) for part in (there, found.start_one(late, "gloo_rank", STEPS="1"))]
    assert [code for code, _ in said] == [0, 0], said
    assert (found.run / "graph.json").read_text() == "{}"
    assert [(one["sum"], one["size"]) for one in found.world()] == [(1.0, 2)] * 2
    assert {one["host"] for one in found.world()} == {pod.host for pod in found.pods}


def test_a_pod_that_never_comes_is_a_reason_to_try_again(cluster: Callable[[str], Cluster]) -> None:
    code, text = ended(*cluster("job").start_one(0, "standin", patience="2"))
    assert code == 143
    assert "node 2 of 2 (forge-sft-1.forge-sft) never came within 2 seconds; here are forge-sft-0" in text


@pytest.mark.parametrize("case", TAKEN)
def test_a_pod_is_taken_away_and_the_run_goes_on_in_the_next_ones(cluster: Callable[[str], Cluster], case: str) -> None:
    found = cluster(case)
    parts = found.start("gloo_rank")
    wait_for(lambda: len(found.world()) == 2, what="a world of two", process=parts[0][0])
    assert [(one["sum"], one["size"]) for one in found.world()] == [(1.0, 2)] * 2
    parts[1][0].terminate()
    said = [ended(*part) for part in parts]
    assert [code for code, _ in said] == [143, 143], said
    assert (found.run / "STOP").exists()
    # Whether the ranks of the next pods meet is told above.
    next_ones = found.start("gloo_rank", STEPS="1") if FULL else found.start("standin", torchrun="agent", HOW="0")
    again = [ended(*part) for part in next_ones]
    assert [code for code, _ in again] == [0, 0], again
    assert not (found.run / "STOP").exists()
