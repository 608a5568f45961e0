"""``python -m forge.launch.hosts RUN``: a run on machines that are reached by ssh; one command starts, shows and ends all of them.

What each host runs stands in ``hosts.json``. Our end of each connection is a leash: a line ``stop`` asks the run there to stop, and a line
``end``, or a connection that breaks before that, ends what was started there: TERM, a grace, KILL.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any, Final

from forge.base.json_file import read_json
from forge.launch.address import endpoint_of
from forge.launch.node import GRACE
from forge.launch.process import SAFE, say
from forge.launch.torchrun import Meeting, torchrun_command

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

    from forge.launch.topology import Topology

__all__ = ["SSH", "HostsKeeper", "host_commands", "hosts_file", "main"]

_FILE: Final = "hosts.json"
_LONGEST: Final = 1 << 20
_PORT: Final = 29400
_POLL: Final = 0.1
_APART: Final = 60.0  # seconds that the others have when one host has ended
_UNREACHED: Final = 20.0  # within which ssh has said that it does not reach a host
_LOST: Final = 255  # ssh's own exit code
_LATER: Final = 5.0  # beyond the grace: the way there and back
_ABORTED: Final = 130
_TWICE: Final = 0.3
SSH: Final = ("ssh", "-T", "-o", "BatchMode=yes", "-o", "ConnectTimeout=15", "-o", "ServerAliveInterval=15")
"""How another machine is reached: without a question, and not for ever."""


def host_commands(topology: Topology, run_folder: str, folder: str) -> list[tuple[str, ...]]:
    """What starts the run on each of its hosts; the run folder and ``folder``, in which it runs, are the same there."""
    endpoint = endpoint_of(topology.rdzv_endpoint or topology.counted_hosts[0][0].rpartition("@")[2], _PORT)
    id_ = topology.rdzv_id or os.path.basename(run_folder)
    nodes = f"{topology.min_nodes}:{topology.max_nodes}" if topology.elastic else str(topology.nodes)
    names = tuple(host.rpartition("@")[2] for host, _ in topology.counted_hosts)
    commands: list[tuple[str, ...]] = []
    for number, (host, count) in enumerate(topology.counted_hosts):
        flags = {
            "nnodes": nodes,
            "nproc-per-node": str(count),
            "rdzv-backend": "c10d",
            "rdzv-endpoint": str(endpoint),
            "rdzv-id": id_,
            "rdzv-conf": f"is_host={str(number == 0).lower()}",
            **({"max-restarts": str(topology.max_restarts)} if topology.max_restarts else {}),
        }
        meeting = Meeting(endpoint, topology.nodes, id_, hosts=number == 0, number=number, names=names)
        fixed = topology.nodes > 1 and not topology.elastic
        command = torchrun_command(
            flags, run_folder, meeting if fixed else None, topology.python or sys.executable, leash=True
        )
        commands.append((*SSH, host, _remote(topology, folder, command)))
    return commands


def _remote(topology: Topology, folder: str, command: Sequence[str]) -> str:
    """One line for the shell of the host, whichever that is."""
    variables = {**SAFE, "OMP_NUM_THREADS": "1", **topology.env}
    if topology.tmp_dir:
        variables["TMPDIR"] = topology.tmp_dir
    named = [f"{name}={value}" for name, value in variables.items()]
    steps = [f"cd {shlex.quote(topology.folder or folder)}", *topology.setup]
    return " && ".join([*steps, f"exec env {shlex.join([*named, *command])}"])


def hosts_file(commands: Sequence[Sequence[str]]) -> tuple[str, str]:
    """The file of a run folder that says what the hosts run: its name and text."""
    return _FILE, json.dumps([list(command) for command in commands], indent=1)


class HostsKeeper:
    """Waits for the hosts of a run, and tells them what it is told."""

    def __init__(self, commands: Sequence[Sequence[str]], grace: float = GRACE) -> None:
        self._commands = commands
        self._grace = grace
        self._processes: list[subprocess.Popen[bytes]] = []
        self._asked: float | None = None
        self._cut = False
        self._aborted = False

    def listen(self) -> None:
        """Take over the signals."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP):
            signal.signal(number, self._on_signal)

    def run(self) -> int:
        """Start all, wait until all have ended, and return the exit code of the run: that of a host that failed by itself."""
        try:
            for command in self._commands:
                self._processes.append(
                    # A session of its own: a terminal's Ctrl-C would end the connection, and not the run.
                    subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)  # noqa: S603 - a list
                )
            themselves = self._wait()
        finally:
            self._end()
        if self._aborted:
            return _ABORTED
        codes = [process.returncode for process in self._processes]
        self._say_unreached(codes)
        return next((code if code > 0 else 128 - code for code in (*themselves, *codes) if code), 0)

    def _wait(self) -> list[int | None]:
        """Until all have ended, or one has and the others have had their time, of which there is none where one was never reached."""
        began, first = time.monotonic(), None
        while None in (codes := [process.poll() for process in self._processes]) and not self._cut:
            now = time.monotonic()
            if first is None and any(code is not None for code in codes):
                first = now
            never = now - began < _UNREACHED and _LOST in codes
            if never or (first is not None and now - first > _APART):
                break
            time.sleep(_POLL)
        return codes

    def _end(self) -> None:
        """Let go of the leashes; whoever has not ended then is left to its host, and the connection is closed."""
        for process in self._processes:
            _tell(process, "end")
            if process.stdin is not None:
                with contextlib.suppress(OSError):
                    process.stdin.close()
        until = time.monotonic() + self._grace + _LATER
        for process in self._processes:
            try:
                process.wait(max(0.0, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        again = number == signal.SIGINT and self._asked is not None
        if again and self._asked is not None and now - self._asked < _TWICE:
            return
        if again:
            self._cut = self._aborted = True
        elif self._asked is None:
            self._asked = now
            say("stopping all hosts: the run is saved after its step; Ctrl-C again ends it at once")
            for process in self._processes:
                _tell(process, "stop")

    def _say_unreached(self, codes: Sequence[int]) -> None:
        for command, code in zip(self._commands, codes, strict=False):
            if code == _LOST:
                say(
                    f"ssh could not reach {command[-2]}, or lost it: `ssh {command[-2]} true` has to work without a password"
                )


def main(arguments: Sequence[str]) -> int:
    """Run what the run folder says."""
    (run_folder,) = arguments
    commands: Any = read_json(os.path.join(run_folder, _FILE), _LONGEST)
    keeper = HostsKeeper(commands)
    keeper.listen()
    return keeper.run()


def _tell(process: subprocess.Popen[bytes], word: str) -> None:
    if process.stdin is not None:
        with contextlib.suppress(OSError):
            process.stdin.write(f"{word}\n".encode())
            process.stdin.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
