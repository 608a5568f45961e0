"""``forge doctor``: what is wrong around a run, on this machine or on several and between them."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Final

from forge.base.errors import UsageError
from forge.cli.options import JSON, Option
from forge.cli.registry import Verb
from forge.cli.session import current_folder

if TYPE_CHECKING:
    from forge.cli.session import Context
    from forge.doctor.row import DoctorRow

__all__ = ["VERB"]

_HIGHEST: Final = 65535
_WIDTH: Final = 100


def _run(context: Context) -> int:
    rows = _examined(context)
    if context.options.json:
        from forge.doctor.row import row_data  # as all of forge.doctor: `forge --help` examines nothing

        context.emit_json([row_data(row) for row in rows], "doctor")
    else:
        context.output.write(_text(context, rows))
    return 1 if any(row.verdict == "bad" for row in rows) else 0


def _examined(context: Context) -> list[DoctorRow]:
    from forge.doctor.examine import MEETING_PORT, DoctorsWish, examine_here
    from forge.launch.address import endpoint_of

    current_folder()  # what is named is named from there
    options = context.options
    port = MEETING_PORT if options.port is None else options.port
    if not 0 < port <= _HIGHEST:
        raise UsageError(f"--port is a number from 1 to {_HIGHEST}, not {port}")
    if options.endpoint is not None:
        endpoint_of(options.endpoint, port)
    wish = DoctorsWish(_folder(options.folder), port, options.endpoint or "", _absolute(options.model))
    if options.hosts is None:
        if options.python is not None:
            raise UsageError("--python is the one on other hosts: it means nothing without --hosts")
        return examine_here(wish)
    from forge.doctor.between import examine_hosts, host_names

    try:
        names = host_names(options.hosts)
    except ValueError as error:
        raise UsageError(f"--hosts: {error}") from error
    return examine_hosts(names, wish, options.python or sys.executable)


def _folder(given: str | None) -> str:
    """The folder that runs write to: the one that is named, else the one that is usual."""
    return os.path.abspath(given or "output")


def _absolute(path: str | None) -> str:
    return "" if path is None else os.path.abspath(path)


def _text(context: Context, rows: list[DoctorRow]) -> str:
    from shutil import get_terminal_size

    from forge.doctor.table import plain_table, table_of

    if context.options.plain:
        return plain_table(rows)
    width = get_terminal_size((_WIDTH, 24)).columns
    return table_of(rows, width=width, colour=context.output.colour)


VERB = Verb(
    name="doctor",
    summary="find out what is wrong around a run: network, versions, disk, limits, GPUs",
    help="""\
Look at everything that keeps runs from starting or slows them down, and say for each what was found, whether that is good, and what
to do if it is not. On this machine: versions, the host's name, interfaces and which of them gloo and NCCL take, the port where
nodes meet, the disk of the runs, shared memory, limits, the clock, GPUs, variables that disagree or were left behind.

With --hosts the same on each of them, reached by ssh, and between them: versions, clocks, the folder that all should share, whether each
reaches each on the meeting port and on others, how quickly. Nothing is changed, and nothing is kept.

Exit code 0: nothing is bad. 1: something is.

  forge doctor
  forge doctor --hosts hal,dave@muthur --folder /shared/runs
  forge doctor --endpoint 10.0.0.1:29400
  forge doctor --model MODEL_FOLDER --plain
""",
    run=_run,
    options=(
        Option(("--hosts",), "look at these machines, reached by ssh, and at what is between them", "a,b"),
        Option(("--folder",), "the folder that runs write to; else output", "FOLDER", completes="folder"),
        Option(("--endpoint",), "also try to reach this place where nodes meet", "HOST:PORT"),
        Option(("--port",), "the port where nodes meet; else 29400", "N", type=int),
        Option(("--model",), "also look whether this model's folder is whole, and how long it takes to read", "FOLDER"),
        Option(("--python",), "with --hosts: the Python on them; else the path of this one", "PATH"),
        Option(("--plain",), "one line a row, however long, and no colours"),
        JSON,
    ),
)
