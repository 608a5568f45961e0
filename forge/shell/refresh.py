"""What the prompt knows of the chosen config, kept true by a thread in the background.

The thread composes and checks the config again when the choice or a file has changed. What it finds takes the place of what
was known in one step, so that nobody who types ever waits or sees a half of it.
"""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from forge.base.errors import ForgeError
from forge.cli.knowledge import Knowledge
from forge.shell.stamp import stamp

if TYPE_CHECKING:
    from collections.abc import Callable

    from forge.cli.registry import Registry
    from forge.shell.complaint import Complaints
    from forge.shell.state import Choice

__all__ = ["CheckState", "Refresher", "Snapshot", "check_state", "running_jobs"]

_SECONDS: Final = 1.0
_SHARE: Final = 20
_MOST_LINES: Final = 16
_FAREWELL: Final = 0.3


class CheckState(NamedTuple):
    """What a check found: ``broken`` does not compose, ``none`` says that there is no config to check."""

    status: Literal["unknown", "none", "ok", "errors", "broken"] = "unknown"
    errors: int = 0
    warnings: int = 0
    message: str = ""


class Snapshot:
    """What was known at one moment: the choice, the names for the toolbar, the state of the check, and the answers."""

    def __init__(self, choice: Choice, verbs: Registry, state: CheckState = CheckState()) -> None:  # noqa: B008 - never changes
        self.choice = choice
        self.state = state
        self.verbs = verbs
        self.knowledge = Knowledge(choice.project, choice.config, (), verbs, choice.overrides)
        self._lines: dict[tuple[str | None, str | None, tuple[str, ...]], Knowledge] = {}

    def of_line(self, project: str | None, config: str | None, overrides: tuple[str, ...]) -> Knowledge:
        """What is known for a line that chooses otherwise; what is pending is for the shell's own config."""
        if project is None and config is None and not overrides:
            return self.knowledge
        key = (project, config, overrides)
        if key not in self._lines:
            pending = self.choice.overrides if project is None and config is None else ()
            if len(self._lines) >= _MOST_LINES:
                self._lines.clear()
            self._lines[key] = Knowledge(
                project or self.choice.project, config or self.choice.config, overrides, self.verbs, pending
            )
        return self._lines[key]

    def with_state(self, state: CheckState) -> Snapshot:
        """The same answers, and what the check has found meanwhile."""
        found = Snapshot(self.choice, self.verbs, state)
        found.knowledge, found._lines = self.knowledge, self._lines
        return found


class Refresher:
    """The thread. `request` says what is chosen now; `snapshot`, `checking`, `jobs` and `verb_names` are there to be read at any time."""

    def __init__(
        self,
        choice: Choice,
        verbs: Registry,
        complaints: Complaints,
        changed: Callable[[], None],
        check: Callable[[Choice], CheckState] | None = None,
        seconds: float = _SECONDS,
    ) -> None:
        self.snapshot = Snapshot(choice, verbs)
        self.checking = False
        self.jobs = 0
        self.verb_names: frozenset[str] | None = None
        self._choice = choice
        self._verbs = verbs
        self._complaints = complaints
        self._changed = changed
        self._check = check or check_state
        self._seconds = seconds
        self._seen: tuple[Choice, int] | None = None
        self._wake = threading.Event()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="forge-refresh", daemon=True)

    def start(self) -> None:
        """Begin."""
        self.checking = True
        self._wake.set()
        self._thread.start()

    def request(self, choice: Choice) -> None:
        """Look now; work that goes on for another choice is started again."""
        self._choice = choice
        self._wake.set()

    def close(self) -> None:
        """End the thread; one that is busy is not waited for longer than a moment."""
        self._closing = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(_FAREWELL)

    def _run(self) -> None:
        pause = self._seconds
        while not self._closing:
            self._wake.wait(pause)
            self._wake.clear()
            began = time.monotonic()
            worked = self._complaints.guarded("the check failed", self._look, False)
            if self.checking:
                self.checking = False
                self._changed()
            # Looking at the files of a large project, or at a mistake that stays, must not fill the day.
            pause = self._seconds + (0 if worked else _SHARE * (time.monotonic() - began))

    def _look(self) -> bool:
        """Do what there is to do; False when there was nothing."""
        choice = self._choice
        if self._closing:
            return False
        if self.verb_names is None:  # reading the verbs' files is no work for the one who types
            self.verb_names = frozenset(name for verb in self._verbs.all for name in (verb.name, *verb.aliases))
        self._count_jobs()
        seen = (choice, stamp(choice.project))
        if seen == self._seen:
            return False
        self.checking = True
        self._changed()
        fresh = Snapshot(choice, self._verbs)
        fresh.knowledge.prepare()
        if self._superseded(choice):
            return True
        self.snapshot = fresh
        self._changed()
        state = self._check(choice)
        if not self._superseded(choice):
            self.snapshot = fresh.with_state(state)
            self._seen = seen
        return True

    def _superseded(self, choice: Choice) -> bool:
        """Whether the answer would be one to a question nobody asks any more."""
        return self._closing or self._choice != choice or os.getcwd() != choice.folder

    def _count_jobs(self) -> None:
        jobs = running_jobs()
        if jobs != self.jobs:
            self.jobs = jobs
            self._changed()


def check_state(choice: Choice) -> CheckState:
    """Compose and check the chosen config with what is pending."""
    from forge.api.project import open_project  # the prompt appears before YAML and Hydra are there

    try:
        project = open_project(choice.project)
        if choice.config is None and project.project.default_config is None:
            return CheckState("none")
        config = project.config(choice.config, *choice.overrides)
        config.composed  # noqa: B018 - composes
    except ForgeError as error:
        return CheckState("broken", 1, message=str(error).splitlines()[0])
    found = config.check()
    errors = [finding for finding in found if finding.severity == "error"]
    message = str(errors[0]) if errors else ""
    return CheckState("errors" if errors else "ok", len(errors), len(found) - len(errors), message)


def running_jobs() -> int:
    """How many jobs of this user go on."""
    from forge.control.known import known_jobs

    try:
        return sum(job.running for job in known_jobs())
    except ForgeError:
        return 0
