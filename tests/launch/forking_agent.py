"""In place of torchrun, as ``agent`` is, for ranks that train: it imports what they need once, and forks two of them."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from importlib import import_module

from forge.launch.rank import main as be_a_rank

# What a run imports on its way.
IMPORTED = ("forge.ml.train.__main__", "forge.ml.train.loop", "forge.ml.train.setup", "forge.ml.parallel.spread")
MODELS = ("transformers.models.gpt2.modeling_gpt2", "torch.distributed.tensor", "torch._dynamo")


def free_port() -> str:
    """A port that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return str(server.getsockname()[1])


def forked(words: list[str], rank: int) -> int:
    """The number of a new process, which is a rank."""
    number = os.fork()
    if number:
        return number
    os.setsid()
    os.environ.update({"RANK": str(rank), "LOCAL_RANK": str(rank)})
    try:
        be_a_rank(words)
    except SystemExit as ended:
        os._exit(ended.code if isinstance(ended.code, int) else 1)
    os._exit(0)


def main() -> int:
    """Run the ranks; 1 when one of them fails, which ends the others."""
    for name in (*IMPORTED, *MODELS):
        import_module(name)
    os.environ.update(
        {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    )
    ranks = [forked(sys.argv[3:], rank) for rank in range(2)]

    def end(*_: object) -> None:
        for rank in ranks:
            os.kill(rank, signal.SIGTERM)

    signal.signal(signal.SIGTERM, end)
    while ranks:
        time.sleep(0.5)  # as long as a rank is not reaped it has a code
        ended = [rank for rank in ranks if os.waitid(os.P_PID, rank, os.WEXITED | os.WNOHANG | os.WNOWAIT)]
        codes = [os.waitstatus_to_exitcode(os.waitpid(rank, 0)[1]) for rank in ended]
        ranks = [rank for rank in ranks if rank not in ended]
        if any(codes):
            end()
            time.sleep(1)  # torchrun, too, takes a while to tell what happened
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
