"""Random commands of many clients against the loop's own part of the protocol, without a model: no transition that is not allowed."""

from __future__ import annotations

import os
import random
import threading
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

from forge.base.errors import ToolError
from forge.control.caller import ask_at_door
from forge.control.door import DOOR_FILE
from forge.control.requests import SaveAnswer, ask_to_save, ask_to_stop, save_answer
from forge.control.settings import ask_to_set, set_answer
from forge.ml.train.agree import agree
from forge.ml.train.changes import RunChanges
from forge.ml.train.steering import Steering
from forge.ml.train.stopping import Stopping

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SEQUENCES: Final = 10_000 if os.environ.get("FORGE_FULL") == "1" else 160
CLIENTS: Final = 8
PER_RUN: Final = 40  # sequences that one run answers before it is stopped
SETTINGS: Final = ("logging_steps", "eval_steps", "save_steps")
NOWHERE: Final[Callable[..., None]] = lambda *_: None  # noqa: E731 - one line says it


class Saver:
    """Writes a checkpoint, which is a folder, in the background or at once."""

    def __init__(self, folder: Path, chance: random.Random) -> None:
        self.folder, self.chance = folder, chance
        self.path: str | None = None
        self._asked = False
        self._thread: threading.Thread | None = None

    @property
    def busy(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def check(self) -> None:
        """Nothing goes wrong with what is written here."""

    @property
    def requested(self) -> bool:
        return self._asked and not self.busy

    def request(self) -> None:
        self._asked = True

    def save(self, step: int) -> None:
        self._asked = False
        self.wait()
        self._thread = threading.Thread(target=self._write, args=(step, self.chance.random() < 0.5))
        self._thread.start()

    def wait(self) -> None:
        if self._thread is not None:
            self._thread.join()

    def _write(self, step: int, slowly: bool) -> None:  # noqa: FBT001 - what a test draws
        path = self.folder / f"checkpoint-{step}"
        if slowly:
            time.sleep(0.002)
        path.mkdir(exist_ok=True)
        self.path = str(path)


class Loop:
    """The steps of a run that asks, saves, changes and stops as the real one does."""

    def __init__(self, folder: Path, seed: int) -> None:
        folder.mkdir()
        self.folder = folder
        self.events: list[dict[str, Any]] = []
        self.stopping = Stopping()
        self.stopping.folder = str(folder)
        settings = SimpleNamespace(**dict.fromkeys(SETTINGS, 10), eval_strategy="steps", save_strategy="steps")
        self.run: Any = SimpleNamespace(
            folder=str(folder),
            settings=settings,
            changes=RunChanges(),
            saver=Saver(folder, random.Random(seed)),
            world=SimpleNamespace(alone=True, first=True, tell=lambda value: value),
            stopping=self.stopping,
            evaluations={"a": None},
            progress=SimpleNamespace(say=NOWHERE),
            metrics=SimpleNamespace(write=self.events.append),
            counts=SimpleNamespace(step=0, saved_step=0),
            step=0,
            total_steps=1_000_000,
        )

    def take_steps(self) -> None:
        run, steering = self.run, Steering()
        steering.begin(run)
        while True:
            requested = agree(run)
            if requested:
                self._save()
            if run.stopping.asked:
                break
            steering.before_step(run)
            run.step += 1
            run.counts.step = run.step
            steering.after_step(run, {"loss": 1.0, "tokens_per_second": 1.0})
        if run.step > run.counts.saved_step:
            self._save()
        run.saver.wait()
        steering.end(run)

    def _save(self) -> None:
        self.run.counts.saved_step = self.run.step
        self.run.saver.save(self.run.step)


class Client:
    """Sends random sequences of commands, and keeps what it was answered."""

    def __init__(self, loop: Loop, sequences: int, seed: int) -> None:
        self.loop, self.sequences, self.chance = loop, sequences, random.Random(seed)
        self.at_door = seed % 2 == 0
        self.wrong: list[str] = []
        self.sets = 0

    def send(self) -> None:
        for _ in range(self.sequences):
            for _ in range(self.chance.randint(1, 4)):
                self.chance.choice([self._save, self._set, self._set_wrongly])()

    def _save(self) -> None:
        asked_at, folder = self.loop.run.step, str(self.loop.folder)
        if self.at_door:
            found = ask_at_door(folder, {"do": "save"})
            answer = found and found.answer and SaveAnswer(**found.answer)
        else:
            token = ask_to_save(folder)
            answer = _waited(lambda: save_answer(folder, token))
        self._expect(answer is not None, "a request to save has no answer")
        if answer is not None:
            self._expect(answer.error == "" and answer.step >= asked_at, f"asked at {asked_at}: {answer}")
            self._expect(os.path.isdir(answer.path), f"answered before it was there: {answer}")

    def _set(self) -> None:
        name, value = self.chance.choice(SETTINGS), self.chance.randint(1, 99)
        changed = self._asked({name: value})
        self._expect(changed is not None and changed[name][1] == value, f"{name}={value}: {changed}")

    def _set_wrongly(self) -> None:
        wrong = self.chance.choice([{"lr_scale": -1}, {"seed": 3}, {"save_steps": 5, "max_steps": 7}])
        self._expect(self._asked(wrong) == {}, f"{wrong} was taken")

    def _asked(self, values: dict[str, float]) -> dict[str, Any] | None:
        folder = str(self.loop.folder)
        if self.at_door:
            return self._asked_at_door(folder, values)
        token = ask_to_set(folder, values)
        answer = _waited(lambda: set_answer(folder, token))
        self._expect(answer is not None, "a request to set has no answer")
        if answer is None:
            return None
        self._expect(bool(answer.error) is not bool(answer.changed), f"{answer}")
        self.sets += bool(answer.changed)
        return answer.changed

    def _asked_at_door(self, folder: str, values: dict[str, float]) -> dict[str, Any] | None:
        try:
            found = ask_at_door(folder, {"do": "set", "values": values})
        except ToolError:  # the door looks at the values before it asks for them
            return {}
        self._expect(found is not None and found.answer is not None, "a request to set has no answer at the door")
        self.sets += 1
        return found and found.answer and found.answer["changed"]

    def _expect(self, so: bool, what: str) -> None:  # noqa: FBT001 - as an assert has it
        if not so:
            self.wrong.append(what)


def _waited(look: Callable[[], Any]) -> Any:
    end = time.monotonic() + 60
    while (found := look()) is None and time.monotonic() < end:
        time.sleep(0.001)
    return found


def _chains(events: list[dict[str, Any]]) -> list[str]:
    """Each value that a change replaces is the one that the change before it has set."""
    now: dict[str, Any] = dict.fromkeys(SETTINGS, 10)
    wrong = []
    for event in events:
        for name, (before, after) in event["changed"].items():
            if now[name] != before:
                wrong.append(f"{name} was {now[name]}, and {before} was replaced")
            now[name] = after
    return wrong


def test_no_command_has_an_effect_that_it_must_not_have(tmp_path: Path) -> None:
    wrong: list[str] = []
    for number in range(SEQUENCES // PER_RUN):
        loop = Loop(tmp_path / str(number), number)
        runner = threading.Thread(target=loop.take_steps)
        clients = [Client(loop, PER_RUN // CLIENTS, number * CLIENTS + one) for one in range(CLIENTS)]
        threads = [threading.Thread(target=client.send) for client in clients]
        runner.start()
        assert _waited(lambda door=loop.folder / DOOR_FILE: door.exists() or None)
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        ask_to_stop(str(loop.folder))
        runner.join(60)
        assert not runner.is_alive()
        wrong += [one for client in clients for one in client.wrong]
        wrong += _chains(loop.events)
        if len(loop.events) != sum(client.sets for client in clients):
            wrong.append("a change was made twice, or never")
        assert not {"SAVE", "SET"} & set(os.listdir(loop.folder))
    assert wrong == []


def test_who_asks_when_the_run_ends_is_answered_or_told(tmp_path: Path) -> None:
    for number in range(20):
        loop = Loop(tmp_path / str(number), number)
        runner = threading.Thread(target=loop.take_steps)
        runner.start()
        ask_to_stop(str(loop.folder))
        tokens = [(ask_to_set(str(loop.folder), {"lr_scale": 0.5}), ask_to_save(str(loop.folder))) for _ in range(3)]
        runner.join(60)
        waiting = {name for name in ("SAVE", "SET") if (loop.folder / name).exists()}
        for (
            set_token,
            save_token,
        ) in tokens:  # what came after the end lies there, and whoever asked sees that the job is over
            assert set_answer(str(loop.folder), set_token) is not None or "SET" in waiting
            assert save_answer(str(loop.folder), save_token) is not None or "SAVE" in waiting
