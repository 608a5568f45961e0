"""What may be said to torchrun: its flags as they are written after ``--``, and the command line that they make."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Final, NamedTuple

from forge.base.errors import UsageError
from forge.base.spelling import did_you_mean
from forge.launch.agent import AGENT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from forge.launch.address import Endpoint

__all__ = [
    "FLAGS",
    "SWITCHES",
    "TRAINS",
    "Meeting",
    "check_value",
    "joined_conf",
    "split_conf",
    "torchrun_command",
    "torchrun_words",
]


class Meeting(NamedTuple):
    """The roll call that goes before a run on several nodes; ``hosts`` says whether this one calls it, None that its number does.

    ``number`` is this node's, and ``names`` are those of all, where they are known.
    """

    endpoint: Endpoint
    nodes: int
    id: str
    hosts: bool | None
    number: int | None = None
    names: tuple[str, ...] = ()

    def words(self) -> tuple[str, ...]:
        """As `forge.launch.node` reads it."""
        role = {True: "--host", False: "--join", None: "--meet"}[self.hosts]
        number = () if self.number is None else ("--number", str(self.number))
        names = ("--names", ",".join(self.names)) if self.names else ()
        return (role, str(self.endpoint), "--nodes", str(self.nodes), "--id", self.id, *number, *names)


TRAINS: Final = "forge.ml.train"
"""The module that each process of a run is."""
FLAGS: Final = (
    "nnodes",
    "nproc-per-node",
    "node-rank",
    "rdzv-backend",
    "rdzv-endpoint",
    "rdzv-id",
    "rdzv-conf",
    "master-addr",
    "master-port",
    "local-addr",
    "max-restarts",
    "monitor-interval",
    "start-method",
    "event-log-handler",
    "role",
    "log-dir",
    "redirects",
    "tee",
    "local-ranks-filter",
    "duplicate-stdout-filters",
    "duplicate-stderr-filters",
    "logs-specs",
    "numa-binding",
    "signals-to-handle",
    "shutdown-timeout",
)
"""The flags of torchrun that take a value."""
SWITCHES: Final = ("standalone", "virtual-local-rank")
"""The flags of torchrun that take none. Those that say what to run are not among them: forge says that."""
_SHORT: Final = {"-r": "redirects", "-t": "tee"}
_OURS: Final = ("module", "no-python", "run-path", "m")
_COUNT: Final = (r"\d+", "a whole number of at least 0")
_STREAMS: Final = (
    r"[0-3]|\d:[0-3](,\d:[0-3])*",
    "0 to 3 (none, output, errors, both), or so for some processes: 0:3,1:0",
)
# Of what torchrun would end with a traceback: what a value looks like, and in words.
_VALUES: Final[Mapping[str, tuple[str, str]]] = {
    "nproc-per-node": (r"0*[1-9]\d*|auto|cpu|gpu|xpu", "a whole number of at least 1, or auto, cpu, gpu or xpu"),
    "node-rank": _COUNT,
    "master-port": _COUNT,
    "max-restarts": _COUNT,
    "shutdown-timeout": _COUNT,
    "monitor-interval": (r"(?=[0.]*[1-9])(\d+\.?\d*|\.\d+)(e-?\d+)?", "a number of seconds above 0"),
    "redirects": _STREAMS,
    "tee": _STREAMS,
    "start-method": ("spawn|fork|forkserver", "spawn, fork or forkserver"),
    "numa-binding": ("node|socket|exclusive|core-complex", "node, socket, exclusive or core-complex"),
    "local-ranks-filter": (r"\d+(,\d+)*", "a list of numbers, such as 0,1,2"),
}


def torchrun_words(words: Sequence[str]) -> dict[str, str]:
    """The values of the flags by their names; a switch that is there has the value "".

    Nothing is abbreviated, dashes and underscores are the same, and of a flag that is given twice the last one counts.
    """
    given: dict[str, str] = {}
    rest = iter(words)
    for word in rest:
        name, equals, value = _name(word)
        if name in SWITCHES:
            if equals:
                raise UsageError(f"torchrun's --{name} takes no value", hint=f"write --{name} alone")
            given[name] = ""
        elif name in FLAGS:
            found = value if equals else next(rest, None)
            if found is None:
                raise UsageError(f"torchrun's --{name} needs a value", hint=f"write --{name} VALUE")
            check_value(name, found, f"torchrun's --{name}")
            given[name] = found
        else:
            raise _unknown(word, name)
    return given


def _name(word: str) -> tuple[str, str, str]:
    """``--rdzv_id=7`` as the flag's name, whether a value is attached, and that value."""
    head, equals, value = word.partition("=") if word.startswith("--") else (word, "", "")
    return _SHORT.get(head) or head.removeprefix("--").replace("_", "-"), equals, value


def check_value(name: str, value: str, source: str) -> None:
    """UsageError where torchrun does not take a value for one of its flags; ``source`` is where it was said."""
    pattern, what = _VALUES.get(name, ("(?s:.*)", ""))
    if re.fullmatch(pattern, value, re.ASCII) is None:
        raise UsageError(f"{source} is {what}, not {value!r}", hint="correct it, or leave it out")


def _unknown(word: str, name: str) -> UsageError:
    if not word.startswith("-"):
        config = word if word.replace("/", "").isidentifier() else "CONFIG"
        return UsageError(
            f"train does not know what to do with {word!r}",
            hint=f"an override is written key=value, and a config stands before the verb: forge -t {config} train",
        )
    if name.lstrip("-") in _OURS:
        return UsageError(f"{word} is not for a run of forge: it always runs {TRAINS}", hint=f"leave {word} out")
    known = [f"--{flag}" for flag in (*FLAGS, *SWITCHES)]
    hint = did_you_mean(word, known) or "`torchrun --help` lists them; flags of forge stand in front of the --"
    return UsageError(f"torchrun has no flag {word!r}", hint=hint)


def torchrun_command(
    flags: Mapping[str, str],
    run_folder: str,
    meeting: Meeting | None = None,
    python: str = sys.executable,
    *,
    leash: bool = False,
) -> tuple[str, ...]:
    """The command that starts the processes of this node: torchrun, below what looks after it.

    With a ``leash`` they end when the standard input is closed.
    """
    words = [word for name, value in flags.items() for word in _as_words(name, value)]
    agent = [python, *AGENT, *words, "-m", "forge.launch.rank", TRAINS, run_folder]
    options = [*(("--input", "leash") if leash else ()), *(meeting.words() if meeting else ())]
    return (python, "-m", "forge.launch.node", *options, run_folder, *agent)


def _as_words(name: str, value: str) -> list[str]:
    if name in SWITCHES:
        return [f"--{name}"]
    # A value that begins with a dash is read as a flag unless it is attached.
    return [f"--{name}={value}"] if value.startswith("-") or not value else [f"--{name}", value]


def split_conf(text: str) -> dict[str, str]:
    """``is_host=true,timeout=60`` as a mapping; UsageError for what is not written so."""
    pairs = [part.strip().partition("=") for part in text.split(",") if part.strip()]
    for name, equals, _ in pairs:
        if not equals or not name:
            raise UsageError(f"--rdzv-conf is written name=value,name=value, not {text!r}")
    return {name: value for name, _, value in pairs}


def joined_conf(values: Mapping[str, str]) -> str:
    """The mapping as torchrun reads it."""
    return ",".join(f"{name}={value}" for name, value in values.items())
