from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Any

import pytest

import forge
from forge.launch import preflight as flight
from forge.launch.local import plan_local
from forge.launch.preflight import handed_preflight, preflight, shared_preflight
from forge.launch.preflight_devices import Devices
from forge.launch.topology import Topology

if TYPE_CHECKING:
    from pathlib import Path

    from forge.launch.local import LocalPlan

NONE, FOUR, UNKNOWN = Devices(0, 2), Devices(4, 16), Devices(None, 2)


@pytest.fixture(autouse=True)
def unmasked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def look(plan: LocalPlan, *changes: str, here: Devices = NONE) -> list[str]:
    """What is said of a plan on a machine that has this."""
    handle = forge.open("pydoc").config("pretrain/tiny", *changes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flight, "devices_here", lambda: here)
        found = preflight(handle.graph.root, str(handle.main), plan, "output")
    return [f"{finding.severity}: {finding}" for finding in found]


def test_nothing_stands_in_the_way() -> None:
    assert look(plan_local()) == look(plan_local(), here=FOUR) == look(plan_local("cpu"), here=UNKNOWN) == []
    assert look(plan_local(None, 2), "parallel=ddp", "parallel.dp_replicate=2") == []


@pytest.mark.parametrize(
    ("devices", "nproc", "here", "says"),
    [
        ("4", None, FOUR, "error: launch.nproc_per_node: GPU 4 is not on this machine: there are 4, counted from 0"),
        ("0", None, NONE, "error: launch.nproc_per_node: CUDA_VISIBLE_DEVICES=0 names GPUs, and this machine has none"),
        (None, 8, FOUR, "error: launch.nproc_per_node: 8 processes do not fit on 4 GPUs, each takes one"),
        ("cpu", 4, NONE, "warning: launch.nproc_per_node: 4 processes share 2 processors"),
        (None, 4, NONE, "warning: launch.nproc_per_node: 4 processes share 2 processors"),
    ],
)
def test_devices_that_are_not_there(devices: str | None, nproc: int | None, here: Devices, says: str) -> None:
    found = look(plan_local(devices, nproc), "parallel=fsdp", here=here)
    assert [text for text in found if text.startswith(says)]


def test_a_layout_is_held_against_the_processes_that_there_are() -> None:
    (found,) = look(plan_local(None, 2))
    assert "parallel: the layout does not fit 2 processes" in found
    assert "possible:\n    parallel.dp_replicate=2\n" in found
    # Of several nodes, each may start another number.
    several = plan_local(None, 2, ["--nnodes", "2", "--rdzv-endpoint", "127.0.0.1:1", "--rdzv-conf", "is_host=false"])
    (found,) = look(several)
    assert found.startswith("warning: ")
    assert "if each of the 2 nodes starts 2: the layout does not fit 4 processes" in found
    assert look(several, "parallel=ddp") == []
    assert look(plan_local(None, None, ["--nproc-per-node", "auto"])) == []
    by_gpus = plan_local(None, None, ["--nproc-per-node", "gpu"])
    (found,) = look(by_gpus)
    assert "one process for each GPU is asked for, and this machine has none" in found
    assert look(by_gpus, here=FOUR) == []


def handed(*changes: str, **topology: Any) -> list[str]:
    """What is said of a run that others start."""
    handle = forge.open("pydoc").config("pretrain/tiny", *changes)
    return [str(one) for one in handed_preflight(handle.graph.root, str(handle.main), Topology(**topology))]


def test_an_elastic_run_has_to_fit_every_number_of_nodes() -> None:
    job = {
        "kind": "k8s_pytorchjob_elastic",
        "image": "x",
        "nproc_per_node": 2,
        "min_nodes": 2,
        "max_nodes": 4,
        "nodes": 4,
    }
    assert handed("parallel=fsdp", **job) == []
    (found,) = handed("parallel=fsdp", "parallel.dp_shard=4", **job)
    assert (
        "the run may have 2 to 4 nodes, and would end with 3, 4 of them: the layout does not fit 6 processes" in found
    )
    assert "dp_shard: -1" in found
    words = ["--nnodes", "2:4", "--rdzv-endpoint", "127.0.0.1:1", "--rdzv-conf", "is_host=false"]
    assert look(plan_local(None, 2, words), "parallel=fsdp") == []
    (found,) = look(plan_local(None, 2, words), "parallel=fsdp", "parallel.dp_shard=4")
    assert "would end with 3, 4 of them" in found


def test_more_processes_than_the_gpus_that_are_asked_for() -> None:
    node = {"kind": "slurm", "nodes": 2, "nproc_per_node": 8}
    assert handed("parallel=fsdp", **node) == handed("parallel=fsdp", gpus_per_node=8, **node) == []
    (found,) = handed("parallel=fsdp", gpus_per_node=4, **node)
    assert "8 processes do not fit on the 4 GPUs that each node is asked for" in found


def test_fewer_processes_than_the_gpus_that_are_asked_for() -> None:
    node = {"kind": "slurm", "nodes": 1, "gpus_per_node": 8}
    (found,) = handed("parallel=fsdp", "launch.nproc_per_node=2", nproc_per_node=2, **node)
    assert "2 processes a node leave 6 of the 8 GPUs that each node is asked for idle" in found
    assert "launch.gpus_per_node=2" in found
    handle = forge.open("pydoc").config("pretrain/tiny")
    (one,) = handed_preflight(handle.graph.root, str(handle.main), Topology(nproc_per_node=1, **node))
    assert one.severity == "warning"
    assert "1 process a node leaves 7 of" in one.message


def test_hosts_have_as_many_processes_as_they_say() -> None:
    hosts = {"kind": "ssh", "hosts": ("a:3", "b:1"), "nodes": 2}
    assert handed("parallel=fsdp", **hosts) == []
    (found,) = handed(**hosts)
    assert "the layout does not fit 4 processes" in found
    # Those of the config are what check looks at.
    named = ("launch=ssh", "launch.hosts=['a:3','b:1']", "launch.nodes=2")
    assert handed(*named, **hosts) == []
    (refused,) = [found.message for found in forge.open("pydoc").config("pretrain/tiny", *named).check()]
    assert "the layout does not fit 4 processes" in refused


def test_a_port_that_is_taken() -> None:
    with socket.create_server(("", 0)) as server:
        port = server.getsockname()[1]
        words = ["--rdzv-endpoint", f"127.0.0.1:{port}", "--rdzv-conf", "is_host=true"]
        plan = plan_local(words=words, topology=Topology(nodes=2))
        (found,) = look(plan, "parallel=ddp")
        assert f"error: launch.rdzv_endpoint: port {port}, where the nodes should meet, is taken by " in found
        assert f"(process {os.getpid()})" in found
        joined = plan_local(words=[*words[:-1], "is_host=false"], topology=Topology(nodes=2))
        assert look(joined, "parallel=ddp") == []
    assert look(plan, "parallel=ddp") == []


def test_only_who_makes_the_run_looks_at_its_disk(tmp_path: Path) -> None:
    handle = forge.open("pydoc").config("pretrain/tiny", "model=llama3_70b", "model.dtype=float32", "parallel=ddp")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "access", lambda *_: False)
        (found,) = shared_preflight(handle.graph.root, str(handle.main), str(tmp_path))
        assert "cannot be written to" in found.message
        words = ["--rdzv-endpoint", "127.0.0.1:1", "--rdzv-conf", "is_host=false"]
        plan = plan_local(words=words, topology=Topology(nodes=2))
        assert preflight(handle.graph.root, str(handle.main), plan, str(tmp_path)) == []


def test_what_only_others_see_is_no_reason_not_to_hand_a_run_over(tmp_path: Path) -> None:
    handle = forge.open("pydoc").config("pretrain/tiny", "model.path=/scratch/of/nodes")
    (found,) = shared_preflight(handle.graph.root, str(handle.main), str(tmp_path))
    assert (found.severity, found.message) == ("warning", "there is no model folder /scratch/of/nodes")
    (found,) = preflight(handle.graph.root, str(handle.main), plan_local(), str(tmp_path))
    assert found.severity == "error"


def test_what_is_no_trainer_is_let_by(tmp_path: Path) -> None:
    handle = forge.open("pydoc").config("pretrain/tiny")
    assert shared_preflight(handle.graph.root, "nosuch", str(tmp_path)) == []
    assert preflight(handle.graph.root, "nosuch", plan_local(), str(tmp_path)) == []
