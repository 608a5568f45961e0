"""Runs that are forks of one process which has imported everything, steered from here: ``steered_forks.py FOLDER KILLS STATUSES``.

So many runs, one after another in one output folder, are killed as soon as a request to save is answered, and each goes on from the last
one's checkpoint. Then two processes are in a collective that does not end, and the first one is asked how it is, at its door and by
its files. What came of it is printed as JSON.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, os.path.dirname(__file__))

from small_run import freeze, make_project

from forge.control.caller import call
from forge.control.door import DOOR_FILE, Door
from forge.control.jobs import save_now
from forge.control.known import job_of_run
from forge.control.progress import RunProgress, progress_of, write_progress
from forge.ml.kept_memory import choose_kept_memory
from forge.ml.train.__main__ import main
from forge.report.status import status_data

if TYPE_CHECKING:
    from collections.abc import Callable

LONG = ("trainer.max_steps=1000000", "trainer.eval_strategy=no", "trainer.save_steps=1000000")


def forked(action: Callable[[], Any], log: Path) -> int:
    """A process that does this and nothing else."""
    child = os.fork()
    if child:
        return child
    quiet = os.open(log, os.O_WRONLY | os.O_CREAT)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    action()
    os._exit(0)


def until(condition: Callable[[], Any]) -> Any:
    """What the condition has come to."""
    end = time.monotonic() + 120
    while not (found := condition()):
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(0.005)
    return found


def killed_after_an_answer(run: str) -> int:
    """The step that was answered, by a run that was dead the moment after."""
    child = forked(lambda: main([run]), Path(run, "log"))
    try:
        until(lambda: (progress_of(run).step or 0) > 0)
        return save_now(job_of_run(run)).step
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def resumed_at(run: str) -> int | None:
    """The step of the checkpoint that a run has gone on from."""
    lines = [json.loads(line) for line in Path(run, "metrics.jsonl").read_text().splitlines()]
    return next((line["step"] for line in lines if line.get("event") == "resumed"), None)


def many_kills(project: Path, count: int) -> list[tuple[int, int | None]]:
    """For each run the step that it was answered, and the one that it began at."""
    found = []
    for number in range(count):
        resume = "auto" if number else "null"
        output = f"trainer.output_dir={project}/kills"
        run = freeze(project, f"kill-{number}", *LONG, output, f"trainer.resume_from_checkpoint={resume}")
        found.append((killed_after_an_answer(run), resumed_at(run)))
    return found


def one_rank(run: Path, rank: int) -> None:
    """The first process waits in a collective for the second, which comes when there is a file GO."""
    import torch
    from torch import distributed

    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0", "GLOO_SOCKET_IFNAME": "lo"}
    os.environ.update(where)
    store = distributed.FileStore(str(run / "store"), 2)
    distributed.init_process_group("gloo", store=store, rank=rank, world_size=2)
    if rank == 0:
        write_progress(str(run), RunProgress(7, 10, 1.5, 9.0))
        Door(str(run)).open()
    else:
        until((run / "GO").exists)
    total = torch.ones(1)
    distributed.all_reduce(total)
    os._exit(int(total[0]))


def statuses_in_a_collective(project: Path, count: int) -> dict[str, Any]:
    """The seconds that each status took."""
    run = Path(freeze(project, "collective"))
    ranks = [forked(lambda rank=rank: one_rank(run, rank), run / f"log-{rank}") for rank in range(2)]
    try:
        until((run / DOOR_FILE).exists)
        caller = call(str(run))
        door, files = [], []
        for _ in range(count):
            began = time.perf_counter()
            answer = caller.ask("status")
            door.append(time.perf_counter() - began)
            began = time.perf_counter()
            step = status_data(job_of_run(str(run)))["step"]
            files.append(time.perf_counter() - began)
            if (answer["status"]["step"], step) != (7, 7):
                raise ValueError(answer)
        caller.close()
    finally:
        (run / "GO").touch()
        codes = [os.waitstatus_to_exitcode(os.waitpid(rank, 0)[1]) for rank in ranks]
    return {"door": sorted(door), "files": sorted(files), "codes": codes}


if __name__ == "__main__":
    choose_kept_memory()  # as a run has it
    for name in ("finish", "loop", "setup"):
        import_module(f"forge.ml.train.{name}")
    made = make_project(Path(sys.argv[1]))
    kills = many_kills(made, int(sys.argv[2]))
    sys.stdout.write(json.dumps({"kills": kills, **statuses_in_a_collective(made, int(sys.argv[3]))}))
