"""What is changed of a run while it goes on: every process takes it over between the same two steps, and checkpoints keep it."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from forge.base.errors import FileError, ForgeError
from forge.base.files import read_bounded
from forge.control.settings import (
    CHANGEABLE,
    SET_FILE,
    SetAnswer,
    problem_of_setting,
    requests_in,
    write_set_answers,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from forge.control.settings import SetRequest
    from forge.ml.train.run import Run

__all__ = ["RunChanges", "refusal"]

_TAKEN: Final = ".set.taken"
_LONGEST: Final = 1 << 20


class RunChanges:
    """The factor on the learning rate, what is asked for and not settled yet, and what was changed of the settings."""

    def __init__(self) -> None:
        self.lr_scale = 1.0
        self._made: dict[str, tuple[Any, Any]] = {}  # of the settings: what the config said, and what counts
        self._asked: list[SetRequest] = []
        self._seen: set[str] = set()
        self._answers: list[SetAnswer] = []
        self._failed = False

    @property
    def asked(self) -> bool:
        """Whether this process knows of a request; only the first one looks for any."""
        return bool(self._asked)

    def take(self, run: Run) -> None:
        """See whether somebody asks; the request is gone from then on."""
        path, taken = (os.path.join(run.folder, name) for name in (SET_FILE, _TAKEN))
        if self._failed or not os.path.exists(path):
            return
        try:
            os.replace(path, taken)  # what is written from now on is another request
            found = requests_in(read_bounded(taken, _LONGEST))
        except (ValueError, ForgeError) as error:
            run.progress.say(f"warning: the file {SET_FILE} asks for nothing that can be understood: {error}")
        except OSError as error:
            self._complain(run, error)
        else:
            self._asked += [one for one in found if not one.token or one.token not in self._seen]
            self._seen |= {one.token for one in found}

    def settle(self, run: Run) -> None:
        """Go by what the first process was asked for, in all processes alike."""
        requests = [(one.token, one.values) for one in self._asked]
        self._asked.clear()
        for token, values in run.world.tell(requests):
            error = next(filter(None, (refusal(run, name, value) for name, value in values.items())), "")
            changed = {} if error else {name: (self._put(run, name, value), value) for name, value in values.items()}
            self._tell(run, SetAnswer(token, run.step, changed, error))

    def refuse(self, run: Run) -> None:
        """Answer whoever is left when the run has ended."""
        self.take(run)
        for one in self._asked:
            self._answer(run, SetAnswer(one.token, run.step, {}, "the run has ended"))
        self._asked.clear()

    @contextmanager
    def rates(self, optimizer: Any) -> Iterator[None]:
        """Inside, the optimizer learns at the scaled rates; the schedule never sees them."""
        if self.lr_scale == 1.0:
            yield
            return
        before = [group["lr"] for group in optimizer.param_groups]
        for group in optimizer.param_groups:
            group["lr"] = group["lr"] * self.lr_scale
        try:
            yield
        finally:
            for group, rate in zip(optimizer.param_groups, before, strict=True):
                group["lr"] = rate

    def state(self) -> dict[str, Any]:
        """What has to be in a checkpoint."""
        return {"lr_scale": self.lr_scale, "settings": {name: list(pair) for name, pair in self._made.items()}}

    def load(self, run: Run, state: dict[str, Any]) -> None:
        """Go on as changed; what the config now says otherwise than when it was changed, it says."""
        self.lr_scale = state["lr_scale"]
        held = {} if self.lr_scale == 1.0 else {"lr_scale": self.lr_scale}
        for name, (was, now) in state["settings"].items():
            if getattr(run.settings, name) == was:
                self._put(run, name, now)
                held[name] = now
        if held:
            run.progress.say(f"as set before: {', '.join(f'{name}={value}' for name, value in held.items())}")

    def _put(self, run: Run, name: str, value: Any) -> Any:
        """Change one value; what it was."""
        if name == "lr_scale":
            before, self.lr_scale = self.lr_scale, value
            return before
        before = getattr(run.settings, name)
        self._made[name] = (self._made.get(name, (before,))[0], value)
        setattr(run.settings, name, value)
        if name == "logging_steps":
            run.progress.logging_steps = value
        return before

    def _tell(self, run: Run, answer: SetAnswer) -> None:
        """Write down, and answer, what has become of a request; the first process does."""
        if not run.world.first:
            return
        if answer.error:
            run.progress.say(f"nothing was set: {answer.error}")
        else:
            text = ", ".join(f"{name} {before} -> {after}" for name, (before, after) in answer.changed.items())
            run.progress.say(f"set after step {run.step}: {text}")
            run.metrics.write({"event": "set", "step": run.step, "changed": answer.changed})
        self._answer(run, answer)

    def _answer(self, run: Run, answer: SetAnswer) -> None:
        if not answer.token:
            return
        self._answers.append(answer)
        try:
            write_set_answers(run.folder, self._answers)
        except FileError as error:
            self._complain(run, error)

    def _complain(self, run: Run, error: OSError | FileError) -> None:
        self._failed = True
        run.progress.say(f"warning: requests to change the run are not answered any more: {error}")


def refusal(run: Run, name: str, value: object) -> str:
    """Why this run cannot go by a value, empty when it can."""
    problem = problem_of_setting(name, value)
    if problem:
        return problem if name in CHANGEABLE else f"{problem}; {', '.join(CHANGEABLE)} can"
    if name == "eval_steps" and not run.evaluations:
        return "the run has no held-out data, so eval_steps means nothing to it"
    for what in ("eval", "save"):
        strategy = getattr(run.settings, f"{what}_strategy")
        if name == f"{what}_steps" and strategy != "steps":
            return f"the run's {what}_strategy is {strategy}, so {name} means nothing to it"
    return ""
