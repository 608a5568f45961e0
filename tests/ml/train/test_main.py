"""One process of a run: its exit code says how it ended, and a mistake of the user is one message."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

pytestmark = pytest.mark.torch
pytest.importorskip("torch")

from forge.base.errors import RunError  # noqa: E402 - torch may be missing
from forge.control.requests import STOP_FILE  # noqa: E402 - as above
from forge.launch.process import module_command, module_environment  # noqa: E402 - as above
from forge.ml.checkpoint.store import Store  # noqa: E402 - as above
from forge.ml.train.__main__ import Ending, main  # noqa: E402 - as above
from forge.ml.train.callback import Callback  # noqa: E402 - as above

if TYPE_CHECKING:
    from collections.abc import Callable

    from forge.ml.train.run import Run

    Ended = Callable[[str], tuple[int, str]]


def process(folder: str, **environment: str) -> tuple[int, str]:
    """The exit code of a real process, and what it said."""
    clean = {name: value for name, value in os.environ.items() if name != "FORGE_DEBUG"}
    done = subprocess.run(
        module_command("forge.ml.train", [folder]),
        env={**clean, **module_environment({"OMP_NUM_THREADS": "1"}), **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.stdout == ""
    return done.returncode, done.stderr


def every_callback(monkeypatch: pytest.MonkeyPatch, callback: Callback) -> None:
    """Let each run that is set up have a callback more."""
    import forge.ml.train.setup

    set_up = forge.ml.train.setup.set_up

    def with_callback(*arguments: Any) -> Run:
        run = set_up(*arguments)
        run.callbacks = [*run.callbacks, callback]
        return run

    monkeypatch.setattr(forge.ml.train.setup, "set_up", with_callback)


class Does(Callback):
    """Does something at each step."""

    def __init__(self, what: Callable[[Run], None]) -> None:
        self.what = what

    def before_step(self, run: Run) -> None:
        self.what(run)


def raising_of(error: BaseException) -> Callable[[Run], None]:
    def raise_it(_: Run) -> None:
        raise error

    return raise_it


def raising(error: BaseException) -> Does:
    return Does(raising_of(error))


def test_a_run_to_its_end(ended: Ended, freeze: Callable[..., str], tmp_path: Path) -> None:
    code, said = ended(freeze())
    assert code == Ending.FINISHED == 0
    assert "step 4/4" in said
    assert [one.step for one in Store(tmp_path / "out" / "checkpoints").list()] == [4]


@pytest.mark.parametrize(
    ("what", "code"),
    [
        (lambda _: None, 0),
        (lambda run: run.stopping.interrupt("SIGTERM"), 3),
        (raising_of(ValueError("odd")), 1),
        (raising_of(KeyboardInterrupt()), 130),
    ],
)
def test_a_run_of_one_process_writes_down_how_it_ended_too(
    ended: Ended,
    freeze: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    what: Callable[[Run], None],
    code: int,
) -> None:
    every_callback(monkeypatch, Does(what))
    folder = freeze()
    assert ended(folder)[0] == code
    assert json.loads(Path(folder, "ending.json").read_text())["code"] == code


def test_a_folder_that_is_not_there_is_not_made(ended: Ended, tmp_path: Path) -> None:
    assert ended(str(tmp_path / "nowhere"))[0] == Ending.REFUSED
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("arguments", [[], ["one", "two"]])
def test_another_number_of_arguments_is_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == Ending.REFUSED
    assert capsys.readouterr().err.startswith("usage: ")


@pytest.mark.parametrize(("word", "code"), [('{"code": 2}', 0), ('{"code": 1}', 1), ("", 1)])
def test_what_all_processes_refuse_has_failed_in_none_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, word: str, code: int
) -> None:
    ending = tmp_path / "ending.json"
    ending.write_text('{"code": 2}')  # of an earlier time

    def refuse(*_: Any) -> int:
        if word:
            ending.with_name("new").write_text(word)
            ending.with_name("new").rename(ending)
        return Ending.REFUSED

    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr("forge.ml.train.__main__._TOGETHER", 0.2)
    monkeypatch.setattr("forge.ml.train.__main__._run", refuse)
    assert main([str(tmp_path)]) == code


def test_a_run_that_somebody_stopped_says_who_and_how_to_go_on(
    ended: Ended, freeze: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    every_callback(monkeypatch, Does(lambda run: run.stopping.interrupt("SIGTERM")))
    code, said = ended(freeze())
    assert code == Ending.STOPPED == 3
    assert "stopped after step 1 of 4: SIGTERM" in said
    assert "--resume-from-checkpoint auto" in said


def test_a_run_that_is_stopped_while_its_data_is_prepared_does_not_prepare_the_rest(
    ended: Ended, freeze: Callable[..., str], project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from forge.ml.data import prepare

    monkeypatch.setenv("FORGE_CACHE_HOME", str(tmp_path / "cache"))
    rows = (project / "chat.jsonl").read_text() * 200
    (tmp_path / "rows.jsonl").write_text(rows)
    read: list[int] = []
    batches = prepare.Pool.examples

    def asked(self: Any, rows: Any, *arguments: Any) -> Any:
        def counted() -> Any:
            for number, row in enumerate(rows):
                read.append(number)
                if number == 1000:
                    os.kill(os.getpid(), signal.SIGTERM)
                yield row

        return batches(self, counted(), *arguments)

    monkeypatch.setattr(prepare.Pool, "examples", asked)
    code, said = ended(freeze(f"dataset.train.paths=[{tmp_path}/rows.jsonl]", config="chat"))
    assert code == Ending.STOPPED
    assert said.endswith("stopped before the first step: SIGTERM\n")
    assert 1000 < len(read) < 1200


def test_a_run_that_was_asked_to_stop_before_anything_is_read_takes_no_step(
    ended: Ended, freeze: Callable[..., str], tmp_path: Path
) -> None:
    folder = freeze()
    Path(folder, STOP_FILE).touch()
    code, said = ended(folder)
    assert code == Ending.STOPPED
    assert said == f"stopped before the first step: the file {STOP_FILE} in the run's folder\n"
    assert Store(tmp_path / "out" / "checkpoints").list() == []
    Store(tmp_path / "out" / "checkpoints").claim()


def test_a_run_that_saves_nothing_by_itself_is_saved_when_somebody_stops_it(
    ended: Ended, freeze: Callable[..., str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    every_callback(monkeypatch, Does(lambda run: run.stopping.interrupt("SIGTERM")))
    folder = freeze("trainer.save_strategy=no")
    code, said = ended(folder)
    assert code == Ending.STOPPED
    kept = f"{folder}/checkpoints/checkpoint-1"
    assert f"stopped after step 1 of 4: SIGTERM; go on with --resume-from-checkpoint {kept}" in said
    assert not (tmp_path / "out").exists()
    # In the same folder, as after a requeue, it goes on from there; in a new one where it is told to.
    monkeypatch.undo()
    again = freeze("trainer.save_strategy=no", f"trainer.resume_from_checkpoint={kept}")
    code, said = ended(again)
    assert (code, "continuing from" in said, "saved:" in said) == (Ending.FINISHED, True, False)
    every_callback(monkeypatch, Does(lambda run: run.stopping.interrupt("SIGTERM")))
    requeued = freeze("trainer.save_strategy=no", "trainer.resume_from_checkpoint=auto")
    for step in (1, 2):
        code, said = ended(requeued)
        assert (code, f"stopped after step {step} of 4" in said) == (Ending.STOPPED, True)


def test_a_run_that_is_aborted_saves_nothing(
    ended: Ended, freeze: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a file alone, which nobody here would have to see."""

    def abort(run: Run) -> None:
        Path(run.folder, "ABORT").touch()
        time.sleep(20)

    every_callback(monkeypatch, Does(abort))
    folder = freeze("trainer.save_steps=1")
    began = time.monotonic()
    code, said = ended(folder)
    assert code == Ending.ABORTED
    assert "aborted: nothing was saved since the last checkpoint" in said
    assert time.monotonic() - began < 15
    assert not Path(folder, "checkpoints").exists()


def test_a_run_that_a_callback_ended_is_finished_and_says_why(
    ended: Ended, freeze: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    every_callback(monkeypatch, Does(lambda run: run.stop("it is good enough")))
    code, said = ended(freeze())
    assert code == Ending.FINISHED
    assert "ended after step 1 of 4: it is good enough" in said


def test_a_request_to_stop_that_comes_in_the_last_step_changes_nothing(
    ended: Ended, freeze: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    every_callback(monkeypatch, Does(lambda run: run.stopping.interrupt("SIGTERM")))
    code, said = ended(freeze("trainer.max_steps=1"))
    assert code == Ending.FINISHED
    assert "stopped" not in said


def test_a_run_that_fails_with_a_known_error(
    ended: Ended, freeze: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    every_callback(monkeypatch, raising(RunError("the loss is nan", hint="lower the learning rate")))
    folder = freeze()
    code, said = ended(folder)
    assert code == Ending.FAILED == 1
    assert said.endswith("error: the loss is nan\n  lower the learning rate\n")
    assert "Traceback" not in said


def test_the_traceback_of_a_known_error_is_shown_when_it_is_asked_for(
    ended: Ended, freeze: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    every_callback(monkeypatch, raising(RunError("the loss is nan")))
    monkeypatch.setenv("FORGE_DEBUG", "1")
    code, said = ended(freeze())
    assert code == Ending.FAILED
    assert "Traceback" in said
    assert "RunError: the loss is nan" in said
    assert said.endswith("error: the loss is nan\n")


def test_a_run_that_fails_with_any_other_error_shows_where(
    ended: Ended, freeze: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    every_callback(monkeypatch, raising(ZeroDivisionError("by nothing")))
    code, said = ended(freeze())
    assert code == Ending.FAILED
    assert said.rstrip().endswith("ZeroDivisionError: by nothing")
    assert "Traceback" in said


def test_a_second_interrupt_ends_at_once_and_leaves_the_folder_to_others(
    ended: Ended, freeze: Callable[..., str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    every_callback(monkeypatch, raising(KeyboardInterrupt()))
    code, said = ended(freeze())
    assert code == Ending.ABORTED == 130
    assert "nothing was saved since the last checkpoint" in said
    store = Store(tmp_path / "out" / "checkpoints")
    assert store.list() == []
    store.claim()
    store.release()


def test_a_callback_that_does_not_fit_the_run_is_refused(refused: Callable[..., str]) -> None:
    early = ("callback=early_stopping", "trainer.eval_strategy=no")
    message = refused(*early)
    assert "early stopping needs evaluations" in message
    assert "eval_strategy" in message


def test_the_traceback_of_a_refusal_is_shown_when_it_is_asked_for(
    ended: Ended, freeze: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = freeze("dataset.max_length=33")
    monkeypatch.setenv("FORGE_DEBUG", "1")
    code, said = ended(folder)
    assert code == Ending.REFUSED
    assert "Traceback" in said
    assert "RunError" in said
    assert "rows of 33 tokens are longer than the 32 positions" in said


def no_such_model(freeze: Callable[..., str], tmp_path: Path) -> tuple[str, str]:
    return freeze("~model.config", f"+model.path={tmp_path}/nowhere"), f"there is no model folder {tmp_path}/nowhere"


def unwritable_output(freeze: Callable[..., str], tmp_path: Path) -> tuple[str, str]:
    (tmp_path / "file").touch()
    return freeze(f"trainer.output_dir={tmp_path}/file/out"), f"{tmp_path}/file"


def damaged_folder(freeze: Callable[..., str], tmp_path: Path) -> tuple[str, str]:  # noqa: ARG001 - as the others
    folder = freeze()
    graph = Path(folder, "graph.json")
    graph.write_bytes(graph.read_bytes()[:-50])
    return folder, "graph.json"


@pytest.mark.slow
@pytest.mark.parametrize("mistake", [no_such_model, unwritable_output, damaged_folder])
def test_a_mistake_in_a_real_process(
    freeze: Callable[..., str], tmp_path: Path, mistake: Callable[..., tuple[str, str]]
) -> None:
    folder, named = mistake(freeze, tmp_path)
    code, said = process(folder)
    assert code == Ending.REFUSED, said
    assert "Traceback" not in said
    assert said.count("error:") == 1
    assert named in said


@pytest.mark.slow
def test_a_real_process_shows_the_traceback_when_it_is_asked_for(freeze: Callable[..., str], tmp_path: Path) -> None:
    folder, named = no_such_model(freeze, tmp_path)
    code, said = process(folder, FORGE_DEBUG="1")
    assert code == Ending.REFUSED
    assert "Traceback" in said
    assert said[said.rindex("error: ") :].startswith(f"error: {named}")


KEPT = ("LRU_CACHE_CAPACITY", "ONEDNN_PRIMITIVE_CACHE_CAPACITY")


@pytest.mark.parametrize(
    ("environment", "capacities"),
    [({}, "1 64"), ({"LRU_CACHE_CAPACITY": "7"}, "7 64"), ({"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "9"}, "1 9")],
)
def test_torch_is_told_to_keep_little_before_it_is_imported(environment: dict[str, str], capacities: str) -> None:
    code = f"""
import os, runpy, sys
os._exit = lambda code: print(code, *map(os.environ.get, {KEPT}), "torch" in sys.modules)
runpy.run_module("forge.ml.train", run_name="__main__")
"""
    clean = {name: value for name, value in os.environ.items() if name not in KEPT}
    done = subprocess.run(
        [sys.executable, "-c", code], env=clean | environment, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == f"{int(Ending.REFUSED)} {capacities} False\n"
