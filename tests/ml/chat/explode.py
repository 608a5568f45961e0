"""Runs each bomb in a process of its own, as a worker would, and says how each ended and what it used."""

from __future__ import annotations

import json
import os
import signal
import sys

from forge.ml.chat.conversation import Conversation, RowError
from forge.ml.chat.limits import Limits, limited, memory_limited
from forge.ml.chat.template import Template

CONVERSATION = Conversation([{"role": "user", "content": "hello"}])


def explode(bomb: str, limits: Limits) -> None:
    try:
        with memory_limited(limits):
            with limited(limits):
                template = Template(bomb)
            with limited(limits):
                template.render(CONVERSATION)
    except RowError:
        os._exit(3)
    except ValueError:
        os._exit(4)
    os._exit(5)


def main() -> None:
    limits = Limits(seconds=float(sys.argv[2]))
    with open(sys.argv[1], encoding="utf-8") as file:
        bombs = [line.rstrip("\n") for line in file if not line.startswith("#")]
    for bomb in bombs:
        child = os.fork()
        if not child:
            explode(bomb, limits)
        _, status, used = os.wait4(child, 0)
        how = os.waitstatus_to_exitcode(status)
        end = {3: "stopped", 4: "refused", -signal.SIGPROF: "killed"}.get(how, f"ended with {how}")
        seconds = used.ru_utime + used.ru_stime
        sys.stdout.write(json.dumps([bomb, end, round(seconds, 3), used.ru_maxrss >> 10]) + "\n")


main()
