"""In place of torchrun, as far as it matters to what looks after it: it starts two ranks in sessions of their own, and ends with them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time


def main() -> int:
    """Run the command as two ranks; 1 when one of them fails, which ends the other."""
    ranks = [
        subprocess.Popen(
            [sys.executable, *sys.argv[1:]],
            env={"WORLD_SIZE": "2", **os.environ, "RANK": str(rank + int(os.environ.get("FIRST_RANK", "0")))},
            start_new_session=True,
        )
        for rank in range(2)
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
        # Less often than torchrun looks: a rank that is reaped has no code any more, and a busy machine reads it late.
        time.sleep(0.5)
    return int(any(codes))


if __name__ == "__main__":
    sys.exit(main())
