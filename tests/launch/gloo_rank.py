"""In place of a training: a rank in a real world of gloo, which takes steps together with the others until there is a file STOP, or so many as STEPS."""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from datetime import timedelta
from pathlib import Path

import torch
from torch import distributed

from forge.control.heartbeat import own_heart

RUN = Path(sys.argv[1])
RANK = int(os.environ["RANK"])
STEPS = int(os.environ.get("STEPS", "1000000"))


def main() -> int:
    """Take steps; what the first of them came to is in a file of the run folder."""
    heart = own_heart()
    heart.patience = float(os.environ.get("PATIENCE", "60"))
    distributed.init_process_group("gloo", timeout=timedelta(seconds=120))
    code, step = 0, 0
    while step < STEPS and code == 0:
        step += 1
        heart.mark("data", step)
        told = torch.tensor([float(RANK), float((RUN / "STOP").exists())])
        distributed.all_reduce(told)
        code = 3 if told[1] else 0
        if step == 1:
            found = {"sum": told[0].item(), "size": distributed.get_world_size(), "host": socket.gethostname()}
            temporary = RUN / f".rank-{RANK}"
            temporary.write_text(json.dumps(found))
            temporary.rename(RUN / f"world-{RANK}.json")
        time.sleep(0 if step >= STEPS else 0.05)
    distributed.destroy_process_group()
    if RANK == 0:
        (RUN / "ending.json").write_text(json.dumps({"code": code, "reason": ""}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
