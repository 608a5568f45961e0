"""Frozen runs one after another, each from its set-up to its end as `python -m forge.ml.train` has it.

``many_endings.py RANKS FOLDER...`` prints the exit codes of each run. The libraries are imported once, and every process is a fork of
this one; each has groups, weights in pieces, a checkpoint in the background and an exit of its own.
"""

from __future__ import annotations

import json
import os
import sys
from importlib import import_module

sys.path.insert(0, os.path.dirname(__file__))

from test_node import free_port

from forge.ml.kept_memory import choose_kept_memory
from forge.ml.train.__main__ import main

TRAIN = ("finish", "loop", "setup")  # what each run would import


def one_rank(rank: int, ranks: int, folder: str, port: int) -> int:
    """Start a rank; its process."""
    child = os.fork()
    if child:
        return child
    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "TORCHELASTIC_RUN_ID": "many"}
    os.environ.update({"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(ranks), **where})
    quiet = os.open(os.path.join(folder, f"rank-{rank}.log"), os.O_WRONLY | os.O_CREAT)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    code = main([folder])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def endings(ranks: int, folders: list[str]) -> list[list[int]]:
    """The exit codes of all ranks of each run."""
    found = []
    for folder in folders:
        port = free_port()
        children = [one_rank(rank, ranks, folder, port) for rank in range(ranks)]
        found.append([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children])
    return found


if __name__ == "__main__":
    choose_kept_memory()  # as a run has it
    for name in (*(f"forge.ml.train.{module}" for module in TRAIN), "forge.ml.parallel.spread"):
        import_module(name)
    sys.stdout.write(json.dumps(endings(int(sys.argv[1]), sys.argv[2:])))
