"""Manifests against the operators' published schema, and against what their webhooks ask for besides."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from kubernetes_schema import schema

from forge.launch.k8s import CONFIG_FOLDER, as_yaml, manifests
from forge.launch.topology import Mount, Topology

if TYPE_CHECKING:
    from collections.abc import Iterator

KINDS = ("k8s_pytorchjob", "k8s_pytorchjob_elastic", "k8s_trainjob", "k8s_job")
RUN = "/ckpt/out/runs/20260101-000000-tiny"
FILES = {"graph.json": '{"a": 1}\n', "run.json": "{}"}
RESERVED = {"PET_NNODES", "PET_NPROC_PER_NODE", "PET_NODE_RANK", "PET_MASTER_ADDR", "PET_MASTER_PORT"}


def topology(kind: str, **changes: Any) -> Topology:
    elastic = {"min_nodes": 1, "max_nodes": 4} if kind.endswith("elastic") else {}
    base = {
        "nodes": 2,
        "nproc_per_node": 8,
        "gpus_per_node": 8,
        "image": "registry.example/forge:1",
        "job_name": "forge-sft",
        "mounts": [Mount("ckpt", "/ckpt"), Mount("data", "/data", read_only=True)],
        "max_restarts": 3,
    }
    return Topology(kind=kind, **{**base, **elastic, **changes})


def check(documents: list[dict[str, Any]]) -> None:
    for document in documents:
        found = schema(document["kind"])
        if found is not None:
            jsonschema.Draft202012Validator(found).validate(document)


def containers(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield from node.get("containers", [])
        for value in node.values():
            yield from containers(value)
    elif isinstance(node, list):
        for value in node:
            yield from containers(value)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"nodes": 1},
        {"queue": "team", "time": "1-00:00:00", "env": {"NCCL_DEBUG": "WARN"}, "cpus_per_node": 32},
        {"memory_per_node": "64Gi", "gpus_per_node": None, "node_selector": {"gpu": "h100"}, "max_restarts": 0},
    ],
)
def test_it_is_what_the_schema_asks_for(kind: str, changes: dict[str, Any]) -> None:
    documents = manifests(topology(kind, **changes), RUN, FILES)
    check(documents)
    assert list(yaml.safe_load_all(as_yaml(documents))) == documents


@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [
        ("k8s_pytorchjob", ("spec", "nprocPerNode"), 8),
        ("k8s_pytorchjob", ("spec", "pytorchReplicaSpec"), {}),
        ("k8s_trainjob", ("spec", "trainer", "numProcPerNode"), "auto"),
        ("k8s_trainjob", ("spec", "podTemplateOverrides"), []),
        ("k8s_job", ("spec", "complations"), 2),
    ],
)
def test_the_schemas_catch_what_is_wrong(kind: str, path: tuple[str, ...], value: Any) -> None:
    document = manifests(topology(kind), RUN, FILES)[-1]
    if schema(document["kind"]) is None:
        pytest.skip("the operator's definitions are not here")
    place = document
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        check([document])


def test_a_pytorchjob_obeys_its_webhook() -> None:
    job = manifests(topology("k8s_pytorchjob", nodes=4), RUN, FILES)[-1]
    replicas = job["spec"]["pytorchReplicaSpecs"]
    assert {name: replica["replicas"] for name, replica in replicas.items()} == {"Master": 1, "Worker": 3}
    assert all(container["name"] == "pytorch" and container["image"] for container in containers(job))
    assert job["spec"]["nprocPerNode"] == "8"
    assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", job["metadata"]["name"])
    elastic = manifests(topology("k8s_pytorchjob_elastic"), RUN, FILES)[-1]["spec"]
    assert set(elastic["pytorchReplicaSpecs"]) == {"Worker"}
    assert "standalone" not in elastic["elasticPolicy"]
    assert elastic["elasticPolicy"]["rdzvId"] == "forge-sft"


def test_a_trainjob_has_a_runtime_of_its_own_or_names_one() -> None:
    _, runtime, job = manifests(topology("k8s_trainjob"), RUN, FILES)
    assert job["spec"]["runtimeRef"] == {
        "apiGroup": "trainer.kubeflow.org",
        "kind": "TrainingRuntime",
        "name": "forge-sft",
    }
    assert runtime["metadata"]["name"] == "forge-sft"
    shipped = manifests(topology("k8s_trainjob", runtime="torch-distributed"), RUN, FILES)
    assert [document["kind"] for document in shipped] == ["ConfigMap", "TrainJob"]
    assert shipped[1]["spec"]["runtimeRef"]["kind"] == "ClusterTrainingRuntime"


@pytest.mark.parametrize(("version", "key"), [("2.1", "podTemplateOverrides"), ("2.2", "runtimePatches")])
def test_each_release_of_the_trainer_has_its_own_key(version: str, key: str) -> None:
    spec = manifests(topology("k8s_trainjob", trainer_version=version), RUN, FILES)[-1]["spec"]
    assert [name for name in spec if name in {"podTemplateOverrides", "runtimePatches"}] == [key]
    assert "claimName" in str(spec[key])


@pytest.mark.parametrize("value", ["1e3", "-1e-3", "y", "N", "0o17", "+1", ".5", "0x1f", "1_000", "12:30", "null", "="])
def test_a_text_that_another_reader_takes_for_something_else_is_in_quotes(value: str) -> None:
    """YAML has versions: what kubectl reads as a number, or as true, PyYAML would leave bare."""
    written = as_yaml(manifests(topology("k8s_job", env={"A": value}), RUN, FILES))
    assert f"value: '{value}'\n" in written


@pytest.mark.parametrize("kind", KINDS)
def test_a_dollar_is_one_in_the_pod(kind: str) -> None:
    """Kubernetes reads $(NAME) in variables and commands as a reference, and two dollars as one."""
    for container in containers(manifests(topology(kind, env={"A": "a$$b $(B) $c"}), "/ckpt/$(X)", FILES)[-1]):
        if "env" in container:
            assert {"name": "A", "value": "a$$$$b $$(B) $$c"} in container["env"]
        if "command" in container:
            assert container["command"][-1] == "/ckpt/$$(X)"


@pytest.mark.parametrize("kind", KINDS)
def test_every_pod_sees_the_config_and_the_volumes(kind: str) -> None:
    documents = manifests(topology(kind), RUN, FILES)
    assert documents[0]["data"] == FILES
    assert {"configMap": {"name": "forge-sft"}, "name": "run"} in _volumes(documents[-1])
    mounted = [
        mount["mountPath"] for container in containers(documents[-1]) for mount in container.get("volumeMounts", [])
    ]
    assert {CONFIG_FOLDER, "/dev/shm", "/ckpt", "/data"} == set(mounted)  # noqa: S108 - of the pod
    assert RUN in str(documents[-1])


@pytest.mark.parametrize("kind", KINDS)
def test_a_claim_may_be_called_as_anything(kind: str) -> None:
    mounts = [Mount("run", "/ckpt"), Mount("0.data", "/data"), Mount("run", "/again")]
    documents = manifests(topology(kind, mounts=mounts, nodes=1), RUN, FILES)
    check(documents)
    volumes = {volume["name"]: volume for volume in _volumes(documents[-1])}
    assert len(volumes) == len(_volumes(documents[-1])) == 4
    seen = {
        mount["mountPath"]: volumes[mount["name"]].get("persistentVolumeClaim", {}).get("claimName")
        for container in containers(documents[-1])
        for mount in container.get("volumeMounts", [])
    }
    assert (seen["/ckpt"], seen["/data"], seen["/again"], seen[CONFIG_FOLDER]) == ("run", "0.data", "run", None)


def _volumes(node: Any) -> list[Any]:
    if isinstance(node, dict):
        return [*node.get("volumes", []), *(one for value in node.values() for one in _volumes(value))]
    return [one for value in node for one in _volumes(value)] if isinstance(node, list) else []


def test_what_the_operator_sets_is_left_to_it() -> None:
    for kind in KINDS[:3]:
        text = str(manifests(topology(kind, env={"A": "1"}), RUN, FILES)[-1])
        assert not any(name in text for name in RESERVED)
    job = manifests(topology("k8s_job"), RUN, FILES)[-1]
    variables = {entry["name"]: entry.get("value") for container in containers(job) for entry in container["env"]}
    assert set(variables) == {"PYTHONSAFEPATH", *RESERVED}
    assert variables["PET_MASTER_ADDR"] == "forge-sft-0.forge-sft"


@pytest.mark.parametrize(
    ("kind", "names", "port"),
    [
        ("k8s_pytorchjob", "forge-sft-master-0,forge-sft-worker-0,forge-sft-worker-1", 23456),
        (
            "k8s_trainjob",
            "forge-sft-node-0-0.forge-sft,forge-sft-node-0-1.forge-sft,forge-sft-node-0-2.forge-sft",
            29500,
        ),
        ("k8s_job", "forge-sft-0.forge-sft,forge-sft-1.forge-sft,forge-sft-2.forge-sft", 29500),
    ],
)
def test_the_pods_call_the_roll(kind: str, names: str, port: int) -> None:
    text = str(manifests(topology(kind, nodes=3), RUN, FILES)[-1])
    first = names.partition(",")[0]
    said = ["--meet", f"{first}:{port}", "--nodes", "3", "--id", "20260101-000000-tiny", "--names", names]
    assert str([*said, "--patience", "600"])[1:-1] in text
    assert "--meet" not in str(manifests(topology(kind, nodes=1), RUN, FILES))
    assert "--meet" not in str(manifests(topology("k8s_pytorchjob_elastic"), RUN, FILES))


@settings(max_examples=30)
@given(value=st.text(), name=st.from_regex(r"[A-Za-z_][A-Za-z0-9_]*", fullmatch=True))
def test_hostile_values_arrive_as_they_are(value: str, name: str) -> None:
    printable = "".join(mark for mark in value if mark.isprintable() or mark == "\n")
    documents = manifests(topology("k8s_job", env={name: printable}), f"/ckpt/{printable}", {"config.yaml": printable})
    found = list(yaml.safe_load_all(as_yaml(documents)))
    assert found == documents
    (container,) = containers(found[-1])
    assert {"name": name, "value": printable.replace("$", "$$")} in container["env"]
