from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    import pytest
    from conftest import Forge, Say

    from forge.shell.state import ShellSession


def test_the_verbs_of_the_command_line_work_with_the_same_words(say: Say, forge: Forge) -> None:
    for words in (["ls"], ["show", "--path", "trainer", "mode=slow"], ["why", "mode"], ["-t", "other", "show"]):
        done = forge(*words)
        assert say(" ".join(words)) == (done.returncode, done.stdout, done.stderr)


def test_an_empty_line_does_nothing(say: Say) -> None:
    for text in ("", "   ", "\n", " # a comment", ";;"):
        assert say(text) == (0, "", "")


def test_a_mistyped_verb_suggests(say: Say) -> None:
    assert say("shwo") == (2, "", "error: there is no verb 'shwo'\n  did you mean 'show'?\n")


def test_flags_before_the_verb_count_for_one_line(say: Say, shell: ShellSession) -> None:
    assert say("set mode=slow; show --path mode")[1] == "slow\n"
    assert say("-t other show --path trainer.max_steps")[1] == "200\n"
    assert say("-t other show --path mode")[1] == "fast\n"  # what is set belongs to the other config
    assert say("-t tiny show --path mode")[1] == "fast\n"
    assert shell.config is None
    code, _, errors = say("-t other set mode=fast")
    assert (code, "changes what the shell works on" in errors) == (2, True)
    assert say("-t other")[0] == 2
    assert say("-i")[2].startswith("error: this is the shell already")
    assert "forge 0" in say("--version")[1]


def test_the_first_failure_ends_a_script_with_its_exit_code(say: Say) -> None:
    code, out, errors = say("show --path mode; show --path nosuch; show --path quiet")
    assert (code, out) == (2, "fast\n")
    assert "nosuch" in errors
    assert say("diff tiny other; ls")[0] == 1


def test_only_a_training_goes_to_the_background(say: Say) -> None:
    assert say("show &") == (2, "", "error: show cannot run in the background\n  only a training can: train ... &\n")


def test_a_line_for_the_system_runs_there(say: Say, project: Path) -> None:
    assert say("! touch made; exit 3")[0] == 3
    assert (project / "made").exists()


def test_a_script_runs_from_the_command_line_and_from_standard_input(forge: Forge, project: Path) -> None:
    text = "config other\nset mode=slow; show --path mode\nexit\nls\n"
    done = forge("-i", "-c", text)
    assert (done.returncode, done.stdout) == (0, "slow\n")
    piped = subprocess.run(
        [sys.executable, "-m", "forge", "-i"],
        cwd=project,
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (piped.returncode, piped.stdout) == (0, "slow\n")
    gone = forge("-p", "demo", "-t", "other", "-c", "cd /; pwd", cwd=project.parent)
    assert (gone.stdout, gone.stderr.count("config other")) == ("/\n", 0)
    stays = forge("-p", "demo", "-t", "other", "-c", "! true\nshow --path trainer.max_steps", cwd=project.parent)
    assert stays.stdout == "200\n"
    assert forge("-i", "-c", "shwo").returncode == 2
    assert forge("-t", "nosuch", "-c", "ls").returncode == 2


def test_every_line_sees_the_files_as_they_are(say: Say, project: Path) -> None:
    path = project / "configs" / "tiny.yaml"
    assert say("show --path mode")[1] == "fast\n"
    path.write_text(path.read_text().replace("mode: fast", "mode: slow"))
    assert say("show --path mode")[1] == "slow\n"
    assert say("reload")[0] == 0
    path.write_text("a: [")
    assert say("reload")[0] == 2


def test_an_error_of_forges_own_does_not_end_the_shell(say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("forge.api.config.ConfigHandle.show", lambda *_, **__: 1 / 0)
    assert say("show") == (
        1,
        "",
        "internal error: ZeroDivisionError: division by zero (run again with --debug to see where)\n",
    )
    assert say("show --path mode; ls")[0] == 1
    assert say("ls")[0] == 0


def test_the_shell_never_imports_torch(forge: Forge) -> None:
    done = forge(
        "-c",
        "ls; config other; set mode=slow; graph; why mode; check; diff tiny; undo; overrides; help; commands; help set; "
        f'! {sys.executable} -c "import sys; print(len(sys.modules))"',
        PYTHONPROFILEIMPORTTIME="1",
    )
    assert "omegaconf" in done.stderr
    for name in ("torch", "transformers", "numpy"):
        assert f"| {name}\n" not in done.stderr
        assert f" {name}\n" not in done.stderr


def test_ctrl_c_ends_a_line_and_not_the_shell(project: Path, environment: dict[str, str]) -> None:
    ready = project / "ready"
    script = f"! touch {ready}; exec sleep 30\n"
    shell = subprocess.Popen(
        [sys.executable, "-m", "forge", "-c", script], cwd=project, env=environment, start_new_session=True
    )
    deadline = time.monotonic() + 20
    while not ready.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(shell.pid, signal.SIGINT)
    assert shell.wait(timeout=20) == 130
