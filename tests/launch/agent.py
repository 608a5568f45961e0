"""In place of torchrun, as far as it matters to what looks after it: it starts ranks in sessions of their own, and ends with them.

Two of them, or as many as torchrun is told, of which nothing else is looked at.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time


def main() -> int:
    """Run the command as the ranks of a node; 1 when one of them fails, which ends the others."""
    words = sys.argv[1:]
    flags: dict[str, str] = {}
    while words[0].startswith("--"):  # what follows is the module of the ranks
        name, value, *words = words
        flags[name] = value
    count = int(flags.get("--nproc-per-node") or os.environ.get("PET_NPROC_PER_NODE", "2"))
    first = int(os.environ.get("FIRST_RANK", count * int(os.environ.get("SLURM_NODEID", "0"))))
    world = str(count * int(flags.get("--nnodes", "1")))
    ranks = [
        subprocess.Popen(
            [sys.executable, *words],
            env={"WORLD_SIZE": world, **os.environ, "RANK": str(first + rank)},
            start_new_session=True,
        )
        for rank in range(count)
    ]

    def end(*_: object) -> None:
        for rank in ranks:
            rank.terminate()

    signal.signal(signal.SIGTERM, end)
    while None in (codes := [rank.poll() for rank in ranks]):
        if any(codes):
            end()
            time.sleep(1)  # torchrun, too, takes a while to tell what happened
            return 1
        time.sleep(0.05)  # twice as often as torchrun looks
    return int(any(codes))


if __name__ == "__main__":
    sys.exit(main())
