"""So many runs of two processes one after another, each from its set-up to its end as `python -m forge.ml.train` has it.

``many_endings.py FOLDER COUNT`` prints the exit codes of each run. The libraries are imported once, and every process is a fork of
this one; each has groups, weights in pieces, a checkpoint in the background and an exit of its own.
"""

from __future__ import annotations

import json
import os
import sys
from importlib import import_module
from pathlib import Path

sys.path.insert(0, os.path.dirname(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "resume"))

from small_run import freeze, make_project
from test_node import free_port

from forge.ml.train.__main__ import main

TRAIN = ("finish", "loop", "setup")  # what each run would import


def one_rank(rank: int, folder: str, port: int) -> int:
    """Start a rank; its process."""
    child = os.fork()
    if child:
        return child
    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "TORCHELASTIC_RUN_ID": "many"}
    os.environ.update({"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", **where})
    quiet = os.open(os.path.join(folder, f"rank-{rank}.log"), os.O_WRONLY | os.O_CREAT)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    code = main([folder])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def endings(folders: list[str]) -> list[list[int]]:
    """The exit codes of both ranks of each run."""
    found = []
    for folder in folders:
        port = free_port()
        children = [one_rank(rank, folder, port) for rank in range(2)]
        found.append([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children])
    return found


if __name__ == "__main__":
    os.environ.setdefault("LRU_CACHE_CAPACITY", "1")  # as a run has it
    for name in (*(f"forge.ml.train.{module}" for module in TRAIN), "forge.ml.parallel.spread"):
        import_module(name)
    project = make_project(Path(sys.argv[1]))
    overrides = ("trainer.max_steps=2", "trainer.eval_strategy=no", "parallel=fsdp")
    runs = [
        freeze(project, str(number), f"trainer.output_dir={project}/out/{number}", *overrides)
        for number in range(int(sys.argv[2]))
    ]
    sys.stdout.write(json.dumps(endings(runs)))
