"""A run that is looked after from outside: what it says of itself, and what it answers to requests for a checkpoint."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

pytestmark = pytest.mark.torch
pytest.importorskip("torch")

from forge.base.errors import FileError  # noqa: E402 - torch may be missing
from forge.control.caller import call  # noqa: E402 - as above
from forge.control.progress import RunProgress, progress_of  # noqa: E402 - as above
from forge.control.requests import SAVE_FILE, SaveAnswer, ask_to_save, ask_to_stop, save_answer  # noqa: E402 - torch may be missing
from forge.control.settings import ask_to_set, set_answer  # noqa: E402 - as above
from forge.ml.checkpoint.store import Store  # noqa: E402 - as above
from forge.ml.train import steering  # noqa: E402 - as above
from forge.ml.train.callback import Callback  # noqa: E402 - as above

if TYPE_CHECKING:
    from collections.abc import Callable

    from forge.ml.train.run import Run

    Carried = Callable[..., Run]


class AskAt(Callback):
    """Asks in the middle of these steps for a checkpoint, and with `stop` for an end too."""

    def __init__(self, *steps: int, stop: bool = False) -> None:
        self.steps = steps
        self.stop = stop
        self.tokens: list[str] = []

    def before_step(self, run: Run) -> None:
        if run.step + 1 in self.steps:
            self.tokens.append(ask_to_save(run.folder))
            if self.stop:
                ask_to_stop(run.folder)

    def answers(self, run: Run) -> list[SaveAnswer]:
        found = [save_answer(run.folder, token) for token in self.tokens]
        assert None not in found
        return found


class FailAt(Callback):
    def before_step(self, run: Run) -> None:
        if run.step == 2:
            raise RuntimeError("the sky fell")


def valid(run: Run) -> list[int]:
    return [one.step for one in Store(Path(run.settings.output_dir, "checkpoints")).list(quick=False) if one.valid]


NOT_BESIDE = "trainer.async_save=false"  # a run of four steps is over before a thread has written anything


def test_each_step_that_is_asked_for_is_saved_and_answered(carried: Carried) -> None:
    ask = AskAt(1, 2)
    run = carried(NOT_BESIDE, callbacks=(ask,))
    assert [(answer.step, answer.error) for answer in ask.answers(run)] == [(1, ""), (2, "")]
    assert [os.path.basename(answer.path) for answer in ask.answers(run)] == ["checkpoint-1", "checkpoint-2"]
    assert valid(run) == [1, 2, 4]
    assert not os.path.exists(os.path.join(run.folder, SAVE_FILE))


def test_who_asks_while_a_checkpoint_is_written_gets_a_later_one(carried: Carried) -> None:
    ask = AskAt(1, 2, 3, 4)
    run = carried(callbacks=(ask,))
    for step, answer in enumerate(ask.answers(run), start=1):
        assert answer.step >= step
        assert answer.step in valid(run)


def test_an_answer_comes_only_when_the_checkpoint_is_on_disk(carried: Carried, monkeypatch: pytest.MonkeyPatch) -> None:
    from forge.ml.checkpoint.saver import Saver

    free = threading.Event()
    write = Saver._write

    def slowly(saver: Saver, *work: Any) -> None:
        assert free.wait(60)
        write(saver, *work)

    class Look(Callback):
        answers: tuple[SaveAnswer | None, ...] = ()

        def before_step(self, run: Run) -> None:
            if run.step == 2:
                self.answers = (save_answer(run.folder, ask.tokens[0]),)
                free.set()
                run.saver.wait()
            if run.step == 3:
                self.answers += (save_answer(run.folder, ask.tokens[0]),)

    monkeypatch.setattr(Saver, "_write", slowly)
    ask, look = AskAt(1), Look()
    carried(callbacks=(ask, look))
    before, after = look.answers
    assert before is None
    assert after.step == 1
    assert os.path.isfile(os.path.join(after.path, "manifest.json"))


def test_a_request_beside_a_checkpoint_that_is_due_makes_no_second_one(carried: Carried) -> None:
    ask = AskAt(2, 4)
    run = carried(NOT_BESIDE, "trainer.save_steps=2", callbacks=(ask,))
    assert [answer.step for answer in ask.answers(run)] == [2, 4]
    assert valid(run) == [2, 4]


def test_save_and_stop_together(carried: Carried) -> None:
    ask = AskAt(2, stop=True)
    run = carried(callbacks=(ask,))
    assert run.step == 2
    assert [answer.step for answer in ask.answers(run)] == [2]
    assert valid(run) == [2]


def test_a_request_after_the_last_step_is_answered_with_its_checkpoint(carried: Carried) -> None:
    class AskAfter(Callback):
        token = ""

        def after_step(self, run: Run, record: dict[str, Any]) -> None:  # noqa: ARG002 - what a callback is given
            if run.step == run.total_steps:
                self.token = ask_to_save(run.folder)

    ask = AskAfter()
    run = carried(callbacks=(ask,))
    assert save_answer(run.folder, ask.token).step == 4


def test_a_run_says_how_far_it_is(carried: Carried, monkeypatch: pytest.MonkeyPatch) -> None:
    class Look(Callback):
        def __init__(self) -> None:
            self.seen: list[RunProgress] = []

        def before_step(self, run: Run) -> None:
            self.seen.append(progress_of(run.folder))

    monkeypatch.setattr(steering, "_SECONDS", 0.0)
    look = Look()
    run = carried(callbacks=(look,))
    assert [one.steps for one in look.seen] == ["0/4", "1/4", "2/4", "3/4"]
    assert look.seen[0] == RunProgress(0, 4)
    last = progress_of(run.folder)
    assert (last.steps, last.loss) == ("4/4", pytest.approx(4.9, abs=0.5))
    monkeypatch.setattr(steering, "_SECONDS", 1000.0)
    assert progress_of(carried("trainer.overwrite_output_dir=true", callbacks=(look,)).folder).steps == "4/4"
    assert [one.steps for one in look.seen[4:]] == ["0/4", "0/4", "0/4", "0/4"]


def test_a_file_made_by_hand_is_a_request(freeze: Callable[..., str], ended: Callable[[str], Any]) -> None:
    folder = freeze(NOT_BESIDE)
    Path(folder, SAVE_FILE).touch()
    assert ended(folder)[0] == 0
    assert save_answer(folder, "").step == 1


def test_a_run_that_saves_nothing_by_itself_saves_what_it_is_asked_to(carried: Carried) -> None:
    ask = AskAt(2)
    run = carried("trainer.save_strategy=no", NOT_BESIDE, callbacks=(ask,))
    assert [answer.path for answer in ask.answers(run)] == [f"{run.folder}/checkpoints/checkpoint-2"]
    assert not os.path.exists(run.settings.output_dir)


def test_what_is_asked_in_an_evaluation_is_done_there(carried: Carried, monkeypatch: pytest.MonkeyPatch) -> None:
    from forge.ml.train import loop

    monkeypatch.setattr(loop, "_HEEDED", 1)

    class Ask(Callback):
        token = ""
        set_token = ""
        seen: tuple[Any, ...] = ()

        def during_evaluation(self, run: Run) -> None:
            if not self.token:
                self.token = ask_to_save(run.folder)
                self.set_token = ask_to_set(run.folder, {"lr_scale": 0.5})

        def after_evaluation(self, run: Run, records: list[dict[str, Any]]) -> None:
            if not self.seen:
                self.seen = (save_answer(run.folder, self.token), set_answer(run.folder, self.set_token), len(records))

    evaluated = (NOT_BESIDE, "trainer.eval_strategy=steps", "trainer.eval_steps=2")
    for step, start in ((2, "false"), (0, "true")):
        ask = Ask()
        more = ("trainer.overwrite_output_dir=true", f"trainer.eval_on_start={start}")
        run = carried(*evaluated, *more, callbacks=(ask,))
        saved, changed, count = ask.seen
        assert (saved.step, saved.error, count) == (step, "", 1)
        assert changed.changed == {"lr_scale": (1.0, 0.5)}
        assert valid(run) == [step, 4]


def test_a_run_has_a_door_while_it_takes_steps(
    carried: Carried, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    seen: list[Any] = []

    class Knock(Callback):
        def before_step(self, run: Run) -> None:
            caller = call(run.folder)
            with contextlib.closing(caller):
                seen.append(caller.ask("status")["status"]["total"])

    run = carried(callbacks=(Knock(),))
    assert seen == [4, 4, 4, 4]
    assert call(run.folder) is None

    def nowhere(_: object) -> None:
        raise FileError("no place for a socket")

    monkeypatch.setattr(steering.Door, "open", nowhere)
    assert carried("trainer.overwrite_output_dir=true").step == 4
    assert "steered through the files in its folder alone: no place for a socket" in capfd.readouterr().err


def test_a_checkpoint_that_cannot_be_written_is_no_answer_that_it_was(
    carried: Carried, monkeypatch: pytest.MonkeyPatch
) -> None:
    from forge.base.errors import CheckpointError

    begin = Store.begin
    monkeypatch.setattr(
        Store,
        "begin",
        lambda store, step, size: begin(store, step, size) if step > 1 else _raise(CheckpointError("no room")),
    )
    ask = AskAt(1)
    run = carried("trainer.on_save_error=warn", NOT_BESIDE, callbacks=(ask,))
    assert [answer.error for answer in ask.answers(run)] == ["the checkpoint of step 1 was not written"]
    assert valid(run) == [4]


def _raise(error: Exception) -> None:
    raise error


def test_a_run_that_fails_answers_before_it_is_gone(freeze: Callable[..., str]) -> None:
    from small_run import carry_out

    folder = freeze()
    ask = AskAt(2)
    with pytest.raises(RuntimeError, match="the sky fell"):
        carry_out(folder, ask, FailAt())
    assert save_answer(folder, ask.tokens[0]).step == 2


def test_a_request_on_a_resumed_run_waits_for_something_new(carried: Carried, freeze: Callable[..., str]) -> None:
    from small_run import carry_out

    carried("trainer.max_steps=2")
    folder = freeze(NOT_BESIDE, "trainer.resume_from_checkpoint=auto")
    Path(folder, SAVE_FILE).write_text("mine")
    run = carry_out(folder)
    assert save_answer(folder, "mine").step == 3
    again = freeze(NOT_BESIDE, "trainer.resume_from_checkpoint=auto")
    Path(again, SAVE_FILE).write_text("mine")
    assert carry_out(again).step == run.step == 4
    assert save_answer(again, "mine").error == "the checkpoint of step 4 was not written"  # it was there already


def test_a_request_that_cannot_be_taken_is_told_of_once_and_the_run_goes_on(
    carried: Carried, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def refuse(source: str, target: str) -> None:
        if os.path.basename(source) == SAVE_FILE:
            raise PermissionError(13, "Permission denied")
        replace(source, target)

    replace = os.replace
    monkeypatch.setattr(os, "replace", refuse)
    ask = AskAt(1)
    assert carried(callbacks=(ask,)).step == 4
    said = capfd.readouterr().err
    assert said.count("requests to save are not answered any more") == 1
