"""The script of a run on a real Slurm: two virtual nodes, real torchrun, a stand-in for the training."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import slurm_cluster

from forge.launch.slurm import job_log, sbatch_script
from forge.launch.slurm_jobs import cancel, follow_job, job_state, submit
from forge.launch.topology import Topology

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Until

HERE = Path(__file__).parent

pytestmark = [
    pytest.mark.slow,
    pytest.mark.torch,
    pytest.mark.skipif(
        bool(slurm_cluster.missing()) or not os.environ.get("FORGE_FULL"),
        reason=f"a Slurm of its own is started with FORGE_FULL=1; {slurm_cluster.missing()}",
    ),
]


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Slurm with two nodes."""
    folder = tmp_path_factory.mktemp("slurm")
    try:
        yield slurm_cluster.up(folder, 2, 26817)
    finally:
        slurm_cluster.down(folder)


@pytest.fixture
def job(slurm: str, run: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Topology, Any]:
    """Submits a run in which ranks do what is said."""
    monkeypatch.setenv("SLURM_CONF", slurm)
    (run / "logs").mkdir()

    def begin(how: str, **changes: Any) -> tuple[str, str]:
        environment = {"HOW": how, "PYTHONPATH": str(HERE), "GLOO_SOCKET_IFNAME": "lo"}
        topology = Topology(
            kind="slurm", nodes=2, nproc_per_node=2, rdzv_endpoint="127.0.0.1", cpus_per_node=2, memory_per_node="2000",
            env=environment, **changes,
        )  # fmt: skip
        script = run / "job.sbatch"
        script.write_text(sbatch_script(topology, str(run)).replace("forge.ml.train", "standin"))
        number = submit(str(script), folder=str(run))
        return number, job_log(topology, str(run), number)

    return begin  # type: ignore[return-value]


def test_two_nodes_of_two_ranks_each(job: Any, run: Path) -> None:
    shown: list[str] = []
    state = follow_job(*job("0"), shown.append)
    assert (state.state, state.code) == ("COMPLETED", 0)
    ranks = [json.loads((run / f"rank-{rank}.json").read_text()) for rank in range(4)]
    assert {rank["WORLD_SIZE"] for rank in ranks} == {"4"}
    assert "2 of 2 nodes are here" in "".join(shown)
    assert "rank 0 speaks" in "".join(shown)


def test_the_code_of_the_run_is_that_of_the_job(job: Any) -> None:
    state = follow_job(*job("2"), lambda _: None)
    assert (state.state, state.code) == ("FAILED", 2)


def test_a_job_that_is_cancelled_stops(job: Any, run: Path, until: Until) -> None:
    number, log = job("wait")
    until(lambda: len(list(run.glob("rank-?.json"))) == 4)
    cancel(number)
    assert follow_job(number, log, lambda _: None).state == "CANCELLED"
    until((run / "STOP").exists)


def test_what_is_told_before_its_time_is_queued_again(job: Any, run: Path, until: Until) -> None:
    number, _ = job("wait", time="0:01:00", signal_seconds=55, requeue=True)
    until(lambda: (run / "REQUEUE").exists() or job_state(number).over, 150)
    until(lambda: job_state(number).state == "PENDING")
    assert json.loads((run / "ending.json").read_text())["code"] == 3
    cancel(number)
