"""In place of a training, for what starts it: a rank that says who it is and ends as HOW says, without torch.

``N``: with this code. ``wait``: when there is a file STOP, as a run does. ``deaf``: never, and it does not hear TERM. ``die``: the second rank
fails. ``flaky``: the second rank fails the first time. ``child``: it starts a process that would outlive it. ``hang``, ``stopped``,
``killed``, ``leaves``, ``blamed``, ``ended``, ``behind``: the second rank does that after a step, and the others wait for it in vain.
``again``: it waits the first time, and is done the second time unless there is a file STOP.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from forge.control.heartbeat import own_heart

RUN = Path(sys.argv[1])
RANK = int(os.environ["RANK"])
HOW = os.environ.get("HOW", "0")


def leave(name: str, text: str) -> None:
    """A file that is there with all of its text or not at all: who waits for it reads it at once."""
    temporary = RUN / f".{name}"
    temporary.write_text(text)
    temporary.rename(RUN / name)


def say_how(code: int) -> None:
    """What a run leaves behind."""
    if RANK == 0:
        leave("ending.json", json.dumps({"code": code, "reason": HOW}))


def wait() -> int:
    """Go on until somebody says stop; the code of the run."""
    end = time.monotonic() + float(os.environ.get("WAIT", "60"))
    while time.monotonic() < end:
        if (RUN / "STOP").exists():
            return 3
        time.sleep(0.02)
    return 1


def again() -> int:
    """Wait in the first job, be done in the next one."""
    if os.environ.get("SLURM_RESTART_COUNT", "0") == "0":
        return wait()
    return 3 if (RUN / "STOP").exists() else 0


def leave_a_child() -> None:
    """A process that would outlive this one."""
    nap = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
    leave(f"child-{RANK}", str(nap.pid))


def ranks_known() -> int:
    """How many ranks the nodes have told one another of."""
    return sum(len(json.loads(file.read_text())) for file in RUN.glob("logs/nodes/node-*.json"))


def go_wrong() -> int:
    """All ranks take a step; then the second goes wrong, and the others wait for it."""
    heart = own_heart()
    heart.patience = float(os.environ.get("PATIENCE", "1" if HOW in {"hang", "stopped", "behind"} else "20"))
    heart.mark("data", 1)
    while int(os.environ["WORLD_SIZE"]) > 1 and not (RUN / "rank-1.json").exists():
        time.sleep(0.02)  # nobody waits for one who has not begun
    if RANK != 1 or HOW == "behind":
        heart.mark("waiting")
        time.sleep(60)
    while int(os.environ.get("GROUP_WORLD_SIZE", "1")) > 1 and ranks_known() < int(os.environ["WORLD_SIZE"]):
        time.sleep(0.05)  # nobody dies before all are known to their nodes
    time.sleep(60 if HOW == "hang" else 0.7)  # nor, on one node, before he is
    if HOW == "leaves":
        leave_a_child()
    if HOW in {"stopped", "killed", "leaves"}:
        os.kill(os.getpid(), signal.SIGSTOP if HOW == "stopped" else signal.SIGKILL)  # ``leaves``: and a child is left
    if HOW == "blamed":
        heart.blame()
        raise ArithmeticError("the loss is nan")
    return 0


def main() -> int:
    """End as asked."""
    told = {
        name: value
        for name, value in os.environ.items()
        if name
        in {
            "RANK",
            "WORLD_SIZE",
            "LOCAL_RANK",
            "GROUP_RANK",
            "LOCAL_WORLD_SIZE",
            "MASTER_ADDR",
            "OMP_NUM_THREADS",
            "CUDA_VISIBLE_DEVICES",
        }
    }
    print(f"rank {RANK} speaks", flush=True)  # noqa: T201 - that is its part
    leave(f"rank-{RANK}.json", json.dumps({**told, "pid": os.getpid(), "host": socket.gethostname()}))
    if HOW == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(60)
    if HOW == "child":
        leave_a_child()
    first = not (RUN / "failed-once").exists()
    if RANK == 1 and (HOW == "die" or (HOW == "flaky" and first)):
        while not (RUN / "rank-0.json").exists():
            time.sleep(0.02)  # nobody dies before the other one is known
        (RUN / "failed-once").touch()
        return 1
    if HOW == "flaky" and first:
        time.sleep(60)
    if HOW in {"hang", "stopped", "killed", "blamed", "ended", "behind", "leaves"}:
        return go_wrong()
    code = int(HOW) if HOW.isdecimal() else 0 if HOW == "flaky" else again() if HOW == "again" else wait()
    say_how(code)
    return 1 if code == 1 else 0


if __name__ == "__main__":
    sys.exit(main())
