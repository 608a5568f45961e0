"""One warm process for a shell: it stays, it is replaced when it is out of date, it ends with the shell."""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from forge.cli.main import main
from forge.cli.output import standard_output
from forge.shell.app import run_shell

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from forge.shell.state import ShellSession

CODE = """\
import os, signal, sys, threading

print("imported", file=sys.stderr)

def pid() -> int:
    print("printed")
    return os.getpid()

def die() -> None:
    print("the last words", file=sys.stderr)
    os.kill(os.getpid(), signal.SIGKILL)

def wait() -> None:
    print("waiting", file=sys.stderr, flush=True)
    threading.Event().wait()
"""
CONFIG = "trainer: {{_target_: {0}.pid}}\ndies: {{_target_: {0}.die}}\nwaits: {{_target_: {0}.wait}}\n"


def write_code(folder: Path, name: str, code: str = CODE) -> None:
    (folder / "src" / name).mkdir(parents=True, exist_ok=True)
    (folder / "src" / name / "__init__.py").write_text(code)
    (folder / "project.yaml").write_text(f"name: {folder.name}\ndefault_config: tiny\nsource: src\n")
    (folder / "configs").mkdir(exist_ok=True)
    (folder / "configs" / "own.yaml").write_text(CONFIG.format(name))
    assert main(["-p", str(folder), "trust"]) == 0


@pytest.fixture
def own(project: Path, shell: ShellSession) -> Iterator[Path]:
    """The project with code of its own, which is trusted; what the shell has started ends with the test."""
    write_code(project, "workshop")
    shell.config = "own"
    yield project
    shell.workbench.close()


def pid_of(said: tuple[int, str, str]) -> int:
    """The process that has built."""
    code, out, errors = said
    assert code == 0, errors
    printed, head, number = out.splitlines()
    assert (printed, head) == ("printed", "trainer: int")
    return int(number)


def test_one_process_builds_again_and_again_and_it_is_not_the_shell(say: Any, own: Path) -> None:
    assert own
    first = say("build")
    assert first[2] == "imported\n"
    again = say("build trainer")
    assert again[2] == ""
    assert pid_of(first) == pid_of(again) == pid_of(say("-t own build")) != os.getpid()
    assert "workshop" not in sys.modules


def test_the_answer_is_that_of_the_command_line(
    say: Any, own: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (own / "configs" / "fails.yaml").write_text("trainer: {_target_: datetime.timedelta, dayz: 1}\n")
    (own / "configs" / "refused.yaml").write_text("trainer: {_target_: os.system, command: ls}\n")
    monkeypatch.chdir(own)
    for words in (
        "-t tiny build",
        "-t tiny build size size=large --json",
        "-t fails build",
        "-t refused build",
        "-t tiny build nosuch",
        "-t tiny build size --target trainer",
    ):
        inside = say(words)
        assert (main(words.split()), *capsys.readouterr()) == inside


def test_code_that_has_changed_is_imported_anew(say: Any, own: Path) -> None:
    first = pid_of(say("build"))
    write_code(own, "workshop", CODE.replace("return os.getpid()", "return -os.getpid()"))
    second = pid_of(say("build"))
    assert second < 0
    assert -second != first


def test_code_that_is_not_trusted_any_more_is_not_imported(say: Any, own: Path) -> None:
    pid_of(say("build"))
    (own / "src" / "workshop" / "__init__.py").write_text("print('evil')\n")
    code, out, errors = say("build")
    assert (code, out) == (2, "")
    assert "has changed since you trusted it" in errors
    assert "evil" not in errors


def test_another_project_gets_another_process(say: Any, own: Path, tmp_path: Path) -> None:
    assert own
    other = tmp_path / "other"
    write_code(other, "workshop")
    first = pid_of(say("build"))
    assert pid_of(say(f"-p {other} -t own build")) != first
    assert say("-t tiny build")[0] == 0


def test_forge_itself_may_change(say: Any, own: Path, shell: ShellSession) -> None:
    assert own
    first = pid_of(say("build"))
    shell.workbench._forge = {**shell.workbench._forge, "forge/new.py": (0, 0)}
    assert pid_of(say("build")) != first


def test_a_process_that_dies_says_so_and_the_next_line_has_a_new_one(say: Any, own: Path) -> None:
    assert own
    first = pid_of(say("build"))
    code, out, errors = say("build dies")
    assert (code, out) == (1, "")
    assert errors.splitlines()[0] == "the last words"
    assert "was ended by SIGKILL" in errors
    second = pid_of(say("build"))
    os.kill(second, signal.SIGKILL)
    assert pid_of(say("build")) not in {first, second}  # also where it died while nobody looked


def test_ctrl_c_ends_the_line_and_keeps_the_process(say: Any, own: Path, shell: ShellSession) -> None:
    assert own
    first = pid_of(say("build"))
    heard = threading.Event()
    ask = shell.workbench.ask

    def listening(request: Any, listener: Any) -> Any:
        note = listener.note
        listener.note = lambda text: (note(text), heard.set())
        return ask(request, listener)

    shell.workbench.ask = listening  # type: ignore[method-assign]
    main_thread = threading.get_ident()
    pressing = threading.Thread(
        target=lambda: (heard.wait(20), signal.pthread_kill(main_thread, signal.SIGINT)), daemon=True
    )
    pressing.start()
    code, _, errors = say("build waits")
    pressing.join()
    assert code == 130
    assert errors.startswith("waiting\n")
    assert pid_of(say("build")) == first


def test_what_gets_a_secret_is_built_without_being_written_down(forge: Any, project: Path) -> None:
    (project / "configs" / "secret.yaml").write_text("trainer: {_target_: builtins.dict, api_key: hunter2}\n")
    inside, outside = forge("-t", "secret", "-c", "build"), forge("-t", "secret", "build")
    assert (inside.returncode, inside.stderr) == (0, "")
    assert outside.stdout == "trainer: dict\n{'api_key': '********'}\n"
    assert inside.stdout == outside.stdout
    assert "hunter2" not in inside.stdout


def test_it_ends_with_the_shell(own: Path, shell: ShellSession, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    shell.output = standard_output()
    assert run_shell(shell, "build") == 0
    shell.output.flush()
    assert own
    number = int(capsys.readouterr().out.splitlines()[-1])
    with pytest.raises(ProcessLookupError):
        os.kill(number, 0)


@pytest.mark.slow
@pytest.mark.torch
def test_a_step_is_the_first_of_a_training_and_the_second_is_quick(
    say: Any, shell: ShellSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import json
    import time

    from forge.base.places import shipped_projects

    pytest.importorskip("torch")
    short = "trainer.max_steps=2 trainer.eval_strategy=no trainer.save_strategy=no logging=none"
    line = f"-p {shipped_projects()}/pydoc -t pretrain/tiny step {short} --json"
    output = tmp_path / "out"
    words = ["-p", f"{shipped_projects()}/pydoc", "-t", "pretrain/tiny", "train", *short.split()]
    assert main([*words, f"trainer.output_dir={output}"]) == 0  # which prepares the data, too
    capsys.readouterr()
    (metrics,) = output.glob("runs/*/metrics.jsonl")
    first = next(line for line in map(json.loads, metrics.read_text().splitlines()) if line.get("step") == 1)
    had_torch = "torch" in sys.modules
    seconds, found = [], []
    try:
        while len(seconds) < 2 or (
            len(seconds) < 5 and seconds[0] < 2 * min(seconds[1:])
        ):  # on a busy machine any may be slow
            began = time.monotonic()
            code, out, errors = say(line)
            seconds.append(time.monotonic() - began)
            assert code == 0, errors
            found.append(json.loads(out)["steps"][0])
        assert ("torch" in sys.modules) is had_torch
    finally:
        shell.workbench.close()
    for name in ("loss", "grad_norm", "lr", "tokens"):
        assert {first[name], *(one[name] for one in found)} == {first[name]}
    assert seconds[0] > 2 * min(seconds[1:]), seconds
