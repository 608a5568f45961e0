"""Jobs on a real Slurm: a controller, and nodes that are hosts of their own; one job trains, in the others something stands in for it."""

from __future__ import annotations

import json
import random
import re
import subprocess
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import namespaces
import pytest
import slurm_cluster
from clusters import FULL, HERE, ROOT, Training, demand, digests, ended, pasted, quick_python, surroundings, wait_for
from slurm_cluster import LOGIN, Slurm

from forge.control.known import FACTS
from forge.launch.agent import AGENT
from forge.launch.slurm import job_log, sbatch_script
from forge.launch.slurm_jobs import cancel, follow_job, job_state, submit
from forge.launch.sweep import Member, Sweep
from forge.launch.sweep_array import look_again, submit_rest
from forge.launch.topology import Topology

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.slow
NODES = 3
SIGNALS, JOBS = (100, 10) if FULL else (3, 1)
LIGHT = {"HOW": "0", "PYTHONPATH": str(HERE)}


class Job(NamedTuple):
    """A job that was submitted, and the file that takes what it prints."""

    number: str
    log: str
    run: Path

    @property
    def text(self) -> str:
        """What it has printed."""
        return Path(self.log).read_text()

    @property
    def starts(self) -> int:
        """How often Slurm has queued it again."""
        found = re.search(r"Restarts=(\d+)", _said("scontrol", "show", "job", self.number))
        assert found is not None
        return int(found.group(1))

    @property
    def minutes(self) -> int:
        """How many whole minutes it has run."""
        found = re.search(r"RunTime=(\d+):(\d+):", _said("scontrol", "show", "job", self.number))
        assert found is not None
        return 60 * int(found.group(1)) + int(found.group(2))

    def start_now(self) -> None:
        """A job that was queued again waits two minutes; not this one. In the same second its nodes would refuse it."""
        words = ("scontrol", "update", f"jobid={self.number}", "starttime=now+2seconds")
        subprocess.run(words, check=False, capture_output=True, timeout=60)  # the two minutes may be over


def _said(*words: str) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True, timeout=60).stdout


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    """A Slurm with three nodes; one that is gone is missed soon only where there is time."""
    demand(*slurm_cluster.PROGRAMS, *namespaces.PROGRAMS)
    with Slurm(tmp_path_factory.mktemp("slurm"), NODES, 20 if FULL else 300) as found:
        yield found


@pytest.fixture
def slurm(cluster: Slurm, monkeypatch: pytest.MonkeyPatch) -> Iterator[Slurm]:
    """The same, while this process is on its host from which jobs are submitted."""
    for name, value in surroundings(**cluster.variables).items():
        monkeypatch.setenv(name, value)
    with cluster.network.inside(LOGIN):
        yield cluster
        _said("scancel", "--user=root")
        wait_for(lambda: not _said("squeue", "-h"), what="the end of all jobs")


@pytest.fixture
def job(slurm: Slurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Job]:
    """Submits a run in which ranks do what is said; without ``torchrun`` something quicker takes its place."""
    assert slurm
    monkeypatch.setattr("forge.launch.slurm.TRAINS", "standin")

    def begin(how: str, *, torchrun: bool = False, **changes: Any) -> Job:
        run = tmp_path / f"run {len(list(tmp_path.iterdir()))}"
        (run / "logs").mkdir(parents=True)
        base = {"nodes": 2, "nproc_per_node": 2, "cpus_per_node": 1, "memory_per_node": "1000"}
        topology = Topology(kind="slurm", **{**base, "env": {**LIGHT, "HOW": how}, **changes})
        script = sbatch_script(topology, str(run))
        path = run / "job.sbatch"
        path.write_text(script if torchrun else script.replace(" ".join(AGENT), f"{HERE}/agent.py"))
        number = submit(str(path), folder=str(run))
        return Job(number, job_log(topology, str(run), number), run)

    return begin


def _ranks(run: Path) -> list[dict[str, Any]]:
    texts = [path.read_text() for path in sorted(run.glob("rank-?.json"))]
    return [json.loads(text) for text in texts if text]


def _others(run: Path, known: set[int]) -> set[int]:
    """Wait for ranks that are not those that are known, and return who they are."""
    wait_for(lambda: len({rank["pid"] for rank in _ranks(run)} - known) == 2, what="the next start")
    return {rank["pid"] for rank in _ranks(run)}


def _was_queued(one: Job, times: int) -> bool:
    return one.starts >= times


@pytest.mark.torch
@pytest.mark.timeout(600)
def test_a_run_is_told_by_slurm_that_its_time_is_over_and_goes_on_exactly_in_its_next_start(
    slurm: Slurm, tmp_path: Path
) -> None:
    pytest.importorskip("torch")
    training, log = Training(tmp_path), tmp_path / "said.txt"
    limit = ("time='1:00:00'", "signal_seconds=60", "requeue=true")
    many = ("nodes=2", "nproc_per_node=1", "gpus_per_node=null", "cpus_per_node=1", "memory_per_node='2000'", *limit)
    words = ["launch=slurm", *(f"launch.{one}" for one in many), "callback.hold.step=3", "--show-logs"]
    with log.open("w") as file:
        process = slurm.network.start(
            LOGIN, *training.words(*words), stdout=file, stderr=subprocess.STDOUT, cwd=tmp_path
        )
    try:
        expected = training.uninterrupted(2)
        wait_for(training.held.exists, what="the step at which it is held", process=process)
        number = re.search(r"job (\d+) submitted", log.read_text())
        assert number is not None
        job = Job(number.group(1), "", training.run)
        # Slurm looks at the limits twice a minute; what is left has to be enough for a last checkpoint.
        _said("scontrol", "update", f"jobid={job.number}", f"timelimit={job.minutes + 2}")
        wait_for(partial(_was_queued, job, 1), 240, "the job in the queue again")
        job.start_now()
        code, text = ended(process, log, 240)
    finally:
        process.kill()
    assert code == 0, text
    assert text.count("2 of 2 nodes are here: n2 (10.79.0.3) came") == 2
    assert "the run ended with 3" in text
    assert "checkpoint-4" in text.partition("start 1,")[2]
    assert f"job {job.number}: COMPLETED" in text
    assert digests(training.output) == expected
    assert job.starts == 1


def test_what_a_dry_run_prints_submits_the_job(slurm: Slurm, tmp_path: Path) -> None:
    training, python = Training(tmp_path), quick_python(tmp_path)
    many = ("nodes=2", "nproc_per_node=1", "gpus_per_node=null", "cpus_per_node=1", "memory_per_node='1000'")
    variables = (f"+launch.env.PYTHONPATH='{HERE}:{ROOT}'", "+launch.env.HOW='0'", f"launch.python={python}")
    line = training.words("launch=slurm", *(f"launch.{one}" for one in many), *variables)
    assert slurm
    done = subprocess.run(
        pasted(line, tmp_path),
        cwd="/",
        env=surroundings(**slurm.variables),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    number = done.stdout.split()[-1]
    wait_for(lambda: job_state(number).over, what="the end of the job")
    text = (training.run / "logs" / f"slurm-{number}.out").read_text()
    assert job_state(number).code == 0, text
    assert "2 of 2 nodes are here" in text
    assert "rank 0 speaks" in text


def test_how_the_run_ended_is_how_the_job_ended(job: Callable[..., Job]) -> None:
    jobs = [job("0"), job("2")]
    shown: list[str] = []
    states = [follow_job(one.number, one.log, shown.append) for one in jobs]
    assert [(state.state, state.code) for state in states] == [("COMPLETED", 0), ("FAILED", 2)]
    ranks = _ranks(jobs[0].run)
    assert [(rank["RANK"], rank["WORLD_SIZE"]) for rank in ranks] == [(str(number), "4") for number in range(4)]
    assert "2 of 2 nodes are here" in "".join(shown)
    assert "rank 0 speaks" in "".join(shown)


def test_a_job_that_is_cancelled_stops(job: Callable[..., Job]) -> None:
    one = job("wait")
    wait_for(lambda: len(_ranks(one.run)) == 4, what="four ranks")
    cancel(one.number)
    assert follow_job(one.number, one.log, lambda _: None).state == "CANCELLED"
    wait_for((one.run / "STOP").exists, what="the request")


def test_a_node_is_lost(job: Callable[..., Job], slurm: Slurm) -> None:
    again = job("again", requeue=True, sbatch={"nodelist": "n3"})
    once = job("wait", sbatch={"nodelist": "n3"})
    wait_for(lambda: len(_ranks(again.run)) == len(_ranks(once.run)) == 4, what="eight ranks")
    slurm.network.kill("n3")
    if not FULL:  # it takes Slurm longer than this test to see by itself
        _said("scontrol", "update", "nodename=n3", "state=down", "reason=dead")
    wait_for(lambda: job_state(once.number).over, what="the end of the job")
    assert job_state(once.number).words == "NODE_FAIL, one of its nodes was lost"
    wait_for(partial(_was_queued, again, 1), what="the job in the queue again")
    slurm.network.join("n3")
    slurm.start_node("n3")
    slurm.until_idle()
    again.start_now()
    state = follow_job(again.number, again.log, lambda _: None)
    assert (state.state, state.code) == ("COMPLETED", 0), again.text
    assert again.starts == 1


@pytest.mark.timeout(1800)
def test_two_signals_are_one_reason_to_be_queued_again(job: Callable[..., Job]) -> None:
    environment = {**LIGHT, "HOW": "wait", "WAIT": "600"}
    jobs = [job("", nodes=1, requeue=True, memory_per_node="500", env=environment) for _ in range(JOBS)]
    drawn = random.Random(7)
    known: list[set[int]] = [set()] * JOBS
    for start in range(SIGNALS // JOBS):
        known = [_others(one.run, pids) for one, pids in zip(jobs, known, strict=True)]
        for one in jobs:
            for _ in range(2):
                # One that comes while the job is being queued again tries again for half a minute.
                words = ("timeout", "2", "scancel", "--signal=USR1", "--batch", one.number)
                subprocess.run(words, check=False, capture_output=True)
                time.sleep(drawn.choice((0, drawn.uniform(0, 1.0))))
        for one in jobs:
            wait_for(partial(_was_queued, one, start + 1), 240, f"the queue after start {start}")
            assert one.starts == start + 1
            one.start_now()
    for one, pids in zip(jobs, known, strict=True):
        _others(one.run, pids)
        assert not (one.run / "STOP").exists()
        assert re.findall(r"start (\d+), on", one.text) == [str(start) for start in range(SIGNALS // JOBS + 1)]


def test_the_runs_of_an_array(job: Callable[..., Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert job
    topology = Topology(kind="slurm", nproc_per_node=1, cpus_per_node=1, memory_per_node="1000", env=LIGHT)
    members = [Member(f"00{number}", {"x": str(number)}, str(tmp_path / f"00{number}")) for number in range(3)]
    sweep = Sweep(str(tmp_path), {"axes": {}}, members)

    def prepare(member: Member) -> str:
        folder = Path(member.output, "runs", "one")
        folder.mkdir(parents=True)
        (folder / FACTS).write_text(json.dumps({"config": "tiny", "project": "demo", "overrides": []}))
        return str(folder)

    def quick(path: str, *, folder: str) -> str:
        script = Path(path)
        script.write_text(script.read_text().replace(" ".join(AGENT), f"{HERE}/agent.py"))
        return submit(path, folder=folder)

    monkeypatch.setattr("forge.launch.sweep_array.submit", quick)
    assert submit_rest(sweep, topology, prepare, 2).isdecimal()

    def done() -> bool:
        look_again(sweep, lambda job: {"how": job.how})
        assert not any(member.state == "failed" for member in members)
        return all(member.done for member in members)

    wait_for(done, what="three runs")
    assert submit_rest(sweep, topology, prepare, 2) == ""
    assert all(Path(member.run, "rank-0.json").exists() for member in members)
