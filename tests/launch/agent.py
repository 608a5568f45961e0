"""In place of torchrun, as far as it matters to what looks after it: it starts two ranks in sessions of their own, and ends with them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys


def main() -> int:
    """Run the command as two ranks; 1 when one of them fails, which ends the other."""
    ranks = [
        subprocess.Popen(
            [sys.executable, *sys.argv[1:]],
            env={**os.environ, "RANK": str(rank), "WORLD_SIZE": "2"},
            start_new_session=True,
        )
        for rank in range(2)
    ]

    def end(*_: object) -> None:
        for rank in ranks:
            rank.terminate()

    signal.signal(signal.SIGTERM, end)
    for rank in reversed(ranks):
        if rank.wait():
            end()
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
