"""``python -m forge.launch.node RUN COMMAND``: looks after the processes of a run on one node until all of them have ended.

With ``--host HOST:PORT --nodes N --id ID`` the nodes of the run come together first; the others say ``--join``, and where all run one
line ``--meet``, their number in the environment tells which is the first. ``--number`` is which of ``--names A,B`` this node is.
``--from FOLDER`` copies what is there, a frozen config, into a run folder that is not made yet. ``--again CODE`` is the exit code that
makes an operator start the run again: where it failed, and where a signal to any of its nodes has stopped it, which is how a machine is
taken away. ``--mark requeue`` is for a cluster that starts it again by itself: of such a signal, too, REQUEUE is left in the run folder, so
that the next start is not stopped by it. ``--input leash``: a line ``stop`` on the standard input asks the run to stop; a line ``end`` ends it at once,
and so does the end of the input where nothing was asked. ``--grace`` are the seconds between TERM and KILL.

COMMAND starts the ranks, as torchrun does, in a session of its own, so that a terminal's Ctrl-C reaches them through us alone. The first
SIGINT, SIGTERM, SIGUSR1 or SIGHUP (the terminal is gone) asks the whole run to stop through its folder: ranks that wait for each other must
not be interrupted one by one. A second SIGINT, any signal once the run is asked to abort, and the end of a leash end the family: TERM, a
grace, KILL.

torchrun knows two endings only. How the run ended stands in ``ending.json``, which the first rank writes: that is our exit code.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Final, NamedTuple

from forge.base.errors import FileError, ForgeError, ToolError
from forge.base.files import make_folder, read_bounded, remove_file, write_atomic
from forge.base.json_file import read_json
from forge.base.parent import adopt_orphans, end_with_parent
from forge.control.aborting import ABORT_GRACE, obeying_abort
from forge.control.processes import end_family, family, identity
from forge.control.requests import ABORT_FILE, ENDING_FILE, STOP_FILE, ask_to_stop
from forge.launch.process import say, wait_for
from forge.launch.surroundings import MASTER_PORT
from forge.launch.watchdog import Watchdog

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import FrameType

    from forge.control.processes import Identity

__all__ = ["GRACE", "REQUEUE_FILE", "Keeper", "RunEnding", "ending_of", "main"]

REQUEUE_FILE: Final = "REQUEUE"
"""Says that the run was stopped because its machine was taken away, and goes on on another."""
GRACE: Final = 10.0
"""Seconds between TERM and KILL."""
_LEFT_BEHIND: Final = 1.0  # seconds for those whose agent is gone
_TWICE: Final = 0.3  # seconds within which a second Ctrl-C is the first one, which came on two ways
_LONGEST: Final = 1 << 16
_LARGEST: Final = 256 << 20
_FAILED: Final = 1
_REFUSED: Final = 2
_STOPPED: Final = 3
_ABORTED: Final = 130
_SIGNALS: Final = 128


class RunEnding(NamedTuple):
    """How a run says that it ended, and the version of the file that says it."""

    code: int
    reason: str
    version: tuple[int, int]


class Keeper:
    """Waits for the ranks of one node, and tells them what it is told."""

    def __init__(self, run_folder: str, grace: float = GRACE) -> None:
        self.folder = run_folder
        self.grace = grace
        self.aborted = False
        self.leashed = False  # our standard input is not for the ranks
        self.marks = False  # that it was a signal which stopped the run
        self._root: Identity | None = None
        self._watchdog: Watchdog | None = None
        self._asked: float | None = None
        self._unbegun = False  # it was asked to stop before there was anything to save

    def listen(self) -> None:
        """Take over the signals; SIGHUP stays ignored where somebody has asked for that, as nohup does, and no leash may be cut."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
            signal.signal(number, self._on_signal)
        if self.leashed or signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            signal.signal(signal.SIGHUP, self._on_signal)

    def run(self, command: Sequence[str]) -> int:
        """Run the command to its end, leave nothing behind, and return the exit code of the run."""
        before = ending_of(self.folder)
        adopt_orphans()
        self._watchdog = Watchdog(self.folder, say)
        process = subprocess.Popen(  # noqa: S603 - a list, and no shell
            command,
            env=self._watchdog.environment(command),
            stdin=subprocess.DEVNULL if self.leashed else None,
            start_new_session=True,
            preexec_fn=_end_with_us,  # noqa: PLW1509 - the one other thread there may be waits for its input
        )
        self._root = identity(process.pid)
        self._watchdog.start(self._root)
        # What was asked while there was nothing yet that could be ended.
        if self.aborted:
            self._end(self.grace)
        elif self._asked is not None and not self._unbegun:
            self._end_unbegun()
        with obeying_abort(self.folder, lambda: self.aborted):
            code = wait_for(process)
        self._watchdog.stop()
        self._clear_up()
        if self.aborted or self._unbegun:
            code, reason = (_ABORTED, "aborted") if self.aborted else (_STOPPED, "stopped before it began")
            self._tell(code, reason)
            return code
        after = ending_of(self.folder)
        if after is not None and after != before:
            return after.code
        if self._watchdog.failed:
            return _FAILED  # torchrun may have been ended, too
        return code if code >= 0 else _SIGNALS - code

    def _tell(self, code: int, reason: str) -> None:
        """Ranks that were ended, or never were, could not write down how."""
        with contextlib.suppress(FileError):
            ending = json.dumps({"code": code, "reason": reason})
            write_atomic(os.path.join(self.folder, ENDING_FILE), ending + "\n", durable=False)

    def _clear_up(self) -> None:
        """End whom the command has left behind: the descendants of a killed agent are our children now."""
        own = identity(os.getpid())
        if own is None or self._root is None:
            return
        for who in family([own, self._root]) - {own}:
            end_family(who, _LEFT_BEHIND)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        again = number == signal.SIGINT and self._asked is not None
        if again and self._asked is not None and now - self._asked < _TWICE:
            return
        if os.path.exists(os.path.join(self.folder, ABORT_FILE)):
            self.grace = min(self.grace, ABORT_GRACE)
            self._abort()
        elif again or (number == signal.SIGHUP and self.leashed):
            self._abort()
        elif self._asked is None:
            self._asked = now
            self._stop()

    def _stop(self) -> None:
        try:
            # Who was asked to stop before by somebody else stays stopped.
            if self.marks and not os.path.exists(os.path.join(self.folder, STOP_FILE)):
                write_atomic(os.path.join(self.folder, REQUEUE_FILE), "", durable=False)
            ask_to_stop(self.folder)
        except FileError as error:
            say(f"the run cannot be asked to stop: {error.what}; Ctrl-C again ends it at once")
            return
        if self._root is not None and not self._end_unbegun():
            say("stopping: the run is saved after its step; Ctrl-C again ends it at once")

    def _end_unbegun(self) -> bool:
        """End what waits for other nodes, for minutes, and would not hear that it is asked to stop; whether it was ended."""
        if self._root is None or self._watchdog is None or self._watchdog.begun:
            return False
        self._unbegun = True
        say("stopping: no rank has begun, so there is nothing to save")
        end_family(self._root, self.grace)
        return True

    def _abort(self) -> None:
        """End the family; asked again meanwhile, without any grace."""
        grace = 0.0 if self.aborted else self.grace
        self.aborted = True
        self._end(grace)

    def _end(self, grace: float) -> None:
        if self._watchdog is not None:
            self._watchdog.hush()
        if self._root is not None:
            end_family(self._root, grace)


def ending_of(run_folder: str) -> RunEnding | None:
    """How the run in this folder says that it ended; None when it says nothing that can be read."""
    path = os.path.join(run_folder, ENDING_FILE)
    try:
        found = os.stat(path)
        data = read_json(path, _LONGEST)
        return RunEnding(int(data["code"]), str(data.get("reason", "")), (found.st_ino, found.st_mtime_ns))
    except (FileError, OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def main(arguments: Sequence[str]) -> int:
    """Run the command for the run in the folder that is named first."""
    meets, rest = _options(arguments)
    run_folder, *command = rest
    taken = meets.pop("from", None)
    leashed = meets.pop("input", "") == "leash"
    if leashed:
        # Where it is ignored, a leash that is cut before we listen would be nothing.
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        threading.Thread(target=_heed, daemon=True).start()
    again = meets.pop("again", None)
    marks = meets.pop("mark", "") == "requeue" or again is not None
    grace = float(meets.pop("grace", GRACE))
    if again is not None:
        _begin_again(run_folder)
    try:
        if taken is not None:
            _take_over(taken, run_folder)
        if meets:
            _meet(meets, run_folder, command)
        else:
            _fit(command)
    except ForgeError as error:
        say(f"error: {error}")
        return int(again) if again is not None and _may_come(error) else _REFUSED
    except KeyboardInterrupt:
        return _ABORTED
    keeper = Keeper(run_folder, grace)
    keeper.marks = marks
    keeper.leashed = leashed
    keeper.listen()
    code = keeper.run(command)
    if again is None:
        return code
    # To an operator a code above 127 is a machine's failure, and who aborts a run does not want it again.
    return int(again) if _taken_away(run_folder, code) else _STOPPED if code == _ABORTED else code


def _heed() -> None:
    """Do what is said on the standard input, and end with it: who started us from another machine is gone then.

    A run that was asked to stop before that saves itself and needs nobody.
    """
    stopping = False
    for line in sys.stdin:
        if line.strip() == "end":
            stopping = False
            break
        if line.strip() == "stop":
            stopping = True
            os.kill(os.getpid(), signal.SIGTERM)
    if not stopping:
        os.kill(os.getpid(), signal.SIGHUP)


def _begin_again(run_folder: str) -> None:
    """What asked the run to stop when its machine was taken away does not ask it now."""
    if os.path.exists(os.path.join(run_folder, REQUEUE_FILE)):
        remove_file(os.path.join(run_folder, STOP_FILE))
        remove_file(os.path.join(run_folder, REQUEUE_FILE))


def _may_come(error: ForgeError) -> bool:
    """Whether the next start may find the nodes that this one has missed."""
    from forge.launch.rollcall_line import AbsentNodeError

    return isinstance(error, AbsentNodeError)


def _taken_away(run_folder: str, code: int) -> bool:
    """Whether a run that ended so is to be started again."""
    stopped = code == _STOPPED and os.path.exists(os.path.join(run_folder, REQUEUE_FILE))
    return stopped or code == _FAILED or (code > _SIGNALS and code != _ABORTED)


def _options(arguments: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """The flags in front, and the rest."""
    rest = list(arguments)
    flags: dict[str, str] = {}
    while rest and rest[0].startswith("--"):
        name, value, *rest = rest
        flags[name.removeprefix("--")] = value
    return flags, rest


def _meet(flags: Mapping[str, str], run_folder: str, command: Sequence[str]) -> None:
    """Wait until all nodes are there; ForgeError when one is missing, is not like the others, or cannot start its part."""
    from forge.launch.address import endpoint_of  # one node meets nobody
    from forge.launch.attendance import ROLL_PATIENCE, RollCall
    from forge.launch.preflight_node import node_names, node_number, node_problems, node_ways
    from forge.launch.rollcall import answer_roll, call_roll

    where = endpoint_of(flags.get("host") or flags.get("join") or flags["meet"], MASTER_PORT)
    call = RollCall(
        where,
        int(flags["nodes"]),
        flags["id"],
        run_folder,
        float(flags.get("patience", ROLL_PATIENCE)),
        int(flags["number"]) if "number" in flags else node_number(os.environ),
        node_names(flags.get("names", ""), os.environ),
        tuple(node_problems(command, os.environ)),
    )
    # Which node leaves the rendezvous first is no warning with a stack of 30 lines.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    hosts = "host" in flags or ("meet" in flags and _is_first(where.host))
    if "meet" in flags:
        os.environ["PET_RDZV_CONF"] = f"is_host={str(hosts).lower()}"  # for torchrun, which is told no other
    own = call_roll(call, say)[0].address if hosts else answer_roll(call, say)
    for name, value in node_ways(own, os.environ).items():
        os.environ[name] = value
        say(f"{name}={value} is set, for that is the way to the other nodes")


def _fit(command: Sequence[str]) -> None:
    """ToolError when this machine has not what the command asks for; who has started us may be on another one."""
    from forge.launch.preflight_node import node_problems

    if problems := node_problems(command, os.environ):
        raise ToolError(problems[0])


def _take_over(folder: str, run_folder: str) -> None:
    """Make the run folder; of several nodes that do it at once, all write the same."""
    make_folder(run_folder)
    for name in sorted(os.listdir(folder)):
        source, target = os.path.join(folder, name), os.path.join(run_folder, name)
        if os.path.isfile(source) and not os.path.exists(target):
            write_atomic(target, read_bounded(source, _LARGEST))


def _is_first(host: str) -> bool:
    from forge.launch.address import is_own
    from forge.launch.preflight_node import node_number

    number = node_number(os.environ)
    return is_own(host) if number is None else number == 0


def _end_with_us() -> None:
    end_with_parent(signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
