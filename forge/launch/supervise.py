"""``python -m forge.launch.supervise RUN [JOB]``: runs what a run folder says, and writes down how it ended.

It stands between a job in the background and whoever started it: a small process without torch that waits, so that the end is
known when the shell that began the job is long gone.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from forge.base.errors import ToolError
from forge.base.files import make_folder, open_append
from forge.base.json_file import read_json
from forge.base.origin import shown_path
from forge.control.register import Registration
from forge.launch.process import module_command, module_environment, run_command

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Detached", "console_log", "main", "start_supervised"]

_LONGEST: Final = 1 << 20
_SECONDS: Final = 60
# What a job prints is read while it runs.
_UNBUFFERED: Final = {"PYTHONUNBUFFERED": "1"}


class Detached(NamedTuple):
    """A job in the background: its id, empty when it could not be registered, and the number of its process."""

    id: str
    pid: int
    folder: str


def console_log(run_folder: str) -> str:
    """The file that takes what a job in the background prints."""
    return os.path.join(run_folder, "logs", "console.log")


def start_supervised(run_folder: str, job: Registration) -> Detached:
    """Start the command of a run folder in a session of its own, below a supervisor that keeps the job's record."""
    console = console_log(run_folder)
    make_folder(os.path.dirname(console))
    command = module_command("forge.launch.supervise", [run_folder, job.id])
    with open_append(console) as log:
        done = subprocess.run(  # noqa: S603 - a list, and no shell
            command,
            env=module_environment(_UNBUFFERED),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
            timeout=_SECONDS,
            check=False,
        )
    if not done.stdout.strip().isdigit():
        job.ended(1)
        raise ToolError("the job could not be started", hint=f"what it said is in {shown_path(console)}")
    return Detached(job.id, int(done.stdout), run_folder)


def main(arguments: Sequence[str]) -> int:
    """Run the command of a run folder to its end."""
    run_folder, id_ = arguments
    if os.fork():
        return 0  # who started us waits for us alone, and is never asked again how we are
    job = Registration(id_)
    job.keep()
    launch: dict[str, Any] = read_json(os.path.join(run_folder, "launch.json"), _LONGEST)
    # Our own output is the answer to who started us; the job's goes to the log, as our errors do.
    answer = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def begun(pid: int) -> None:
        job.begun(pid)
        os.write(answer, str(pid).encode())
        os.close(answer)

    code = run_command(launch["command"], environment=launch["environment"], begun=begun, own_session=True)
    job.ended(code)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
