"""The command as its user meets it: exit codes, streams, pipes, signals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from forge.cli.registry import all_verbs

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import TypeAlias

    from forge.cli.registry import Verb

    Forge: TypeAlias = Callable[..., subprocess.CompletedProcess[str]]

LIGHT = {
    "ls": ["ls"],
    "ls -r": ["ls", "-r"],
    "show": ["show"],
    "show --resolve": ["show", "--resolve", "--origins"],
    "trefs": ["trefs"],
    "graph": ["graph"],
    "code": ["code"],
    "targets": ["targets"],
    "why": ["why", "trainer.max_steps"],
    "diff": ["diff", "tiny", "other"],
    "check": ["check"],
    "index": ["index"],
    "edit": ["edit", "--list"],
    "completion": ["completion", "bash"],
    "__complete": ["__complete", "zsh", "--", "1", "show", "trainer."],
    "trust": ["trust"],
    "help": ["help", "show"],
    "--help": ["--help"],
    "show --help": ["show", "--help"],
}
JSON = {
    "ls": ["ls"],
    "show": ["show"],
    "trefs": ["trefs"],
    "graph": ["graph"],
    "targets": ["targets"],
    "build": ["build"],
    "why": ["why", "mode"],
    "diff": ["diff", "tiny", "other"],
    "check": ["check"],
    "index": ["index"],
}


def test_the_help_lists_every_verb(forge: Forge) -> None:
    done = forge("--help")
    assert done.returncode == 0
    assert all(verb.name in done.stdout for verb in all_verbs() if not verb.hidden)
    assert "__complete" not in done.stdout


@pytest.mark.parametrize("verb", [verb for verb in all_verbs() if not verb.hidden], ids=lambda verb: verb.name)
def test_every_verb_has_a_help(forge: Forge, verb: Verb) -> None:
    done = forge(verb.name, "--help")
    assert done.returncode == 0
    assert all(name in done.stdout for option in verb.options for name in option.names)


def test_the_help_of_a_verb_shows_the_flags_of_the_chosen_config(forge: Forge) -> None:
    text = forge("-t", "tiny.yaml", "show", "--help").stdout
    assert "--max-steps" in text
    assert "-M" in text
    assert "at least 1" in text
    assert "one of fast, slow" in text


def test_without_a_verb_the_help_goes_to_the_errors(forge: Forge) -> None:
    done = forge()
    assert done.returncode == 2
    assert done.stdout == ""
    assert "usage: forge" in done.stderr


def test_the_version_is_the_packages(forge: Forge) -> None:
    from forge import __version__  # noqa: PLC0415 - what the command must print

    assert forge("--version").stdout == f"forge {__version__}\n"


@pytest.mark.parametrize("words", LIGHT.values(), ids=LIGHT)
def test_a_verb_that_only_looks_leaves_the_heavy_libraries_alone(
    project: Path, environment: dict[str, str], words: list[str]
) -> None:
    code = (
        "import sys; from forge.cli.main import main; code = main(sys.argv[1:]); "
        "print('MODULES', *sys.modules, file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=project, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode in ({1} if words[0] == "diff" else {0}), done.stderr[:500]
    modules = done.stderr.split("MODULES", 1)[1].split()
    assert not {"torch", "transformers", "rich", "pygments", "prompt_toolkit", "graphviz"} & set(modules)


def test_a_config_that_was_composed_before_is_shown_without_hydra(
    forge: Forge, project: Path, environment: dict[str, str]
) -> None:
    assert forge("show").returncode == 0
    code = "import sys; from forge.cli.main import main; main(['show']); sys.exit('hydra' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=project, env=environment, capture_output=True, check=False)
    assert done.returncode == 0


@pytest.mark.parametrize("words", JSON.values(), ids=JSON)
def test_json_is_json(forge: Forge, words: list[str]) -> None:
    done = forge(*words, "--json")
    assert done.returncode in {0, 1}, done.stderr
    json.loads(done.stdout)


def test_a_config_may_be_named_with_its_suffix(forge: Forge) -> None:
    assert forge("-t", "other.yaml", "show").stdout == forge("--config=other", "show").stdout


def test_a_project_may_be_named_by_its_folder_from_elsewhere(forge: Forge, project: Path, tmp_path: Path) -> None:
    assert forge("-p", str(project), "show", cwd=tmp_path).stdout == forge("show").stdout


def test_an_override_and_a_flag_of_the_config_change_it(forge: Forge) -> None:
    done = forge("show", "--path", "trainer", "--max-steps", "7", "mode=slow", "+trainer.x=1", "--resolve")
    assert "max_steps: 7" in done.stdout
    assert "title: run-slow" in done.stdout
    assert "x: 1" in done.stdout


def test_the_later_of_a_flag_and_an_override_wins(forge: Forge) -> None:
    flag_last = forge("show", "--path", "trainer.max_steps", "trainer.max_steps=3", "-M", "4")
    override_last = forge("show", "--path", "trainer.max_steps", "-M", "4", "trainer.max_steps=3")
    assert (flag_last.stdout, override_last.stdout) == ("4\n", "3\n")


def test_a_secret_is_never_printed(forge: Forge) -> None:
    for words in (
        ["show"],
        ["show", "--json"],
        ["show", "--resolve"],
        ["graph"],
        ["why", "api_key"],
        ["index", "--json"],
    ):
        done = forge(*words)
        assert done.returncode == 0
        assert "hunter2" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["ls"], 0),
        (["diff", "tiny", "tiny"], 0),
        (["diff", "tiny", "other"], 1),
        (["diff", "trainer.max_steps=5"], 1),
        (["shwo"], 2),
        (["show", "--bad"], 2),
        (["show", "nosuch=1"], 2),
        (["-t", "nosuch", "show"], 2),
        (["-p", "nosuch", "ls"], 2),
        (["why", "nosuch"], 2),
        (["show", "-o", "/nosuch/folder/x"], 2),
        (["edit"], 1),
    ],
    ids=str,
)
def test_the_exit_code_says_whose_fault_it_is(forge: Forge, words: list[str], code: int) -> None:
    done = forge(*words)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) <= 3
    if code == 2:
        assert done.stdout == ""
        assert done.stderr.startswith("error: ")


def test_debug_shows_the_traceback_of_a_mistake(forge: Forge) -> None:
    assert "Traceback" in forge("--debug", "-t", "nosuch", "show").stderr
    assert "Traceback" in forge("-t", "nosuch", "show", FORGE_DEBUG="1").stderr
    assert forge("--debug", "-t", "nosuch", "show").returncode == 2


def test_a_bug_is_one_line_and_exit_code_1(project: Path, environment: dict[str, str]) -> None:
    code = (
        "import sys, forge.api; from forge.cli.main import main\n"
        "def broken(*_): raise ZeroDivisionError('first\\nsecond')\n"
        "forge.api.open_project = broken; sys.exit(main(['ls']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=project, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr == "internal error: ZeroDivisionError: first (run again with --debug to see where)\n"


def test_a_result_is_written_to_a_file(forge: Forge, project: Path) -> None:
    done = forge("show", "-o", "out.yaml")
    assert (done.returncode, done.stdout) == (0, "")
    assert (project / "out.yaml").read_text() == forge("show").stdout


def test_a_file_is_left_as_it_was_when_the_verb_fails(forge: Forge, project: Path) -> None:
    (project / "out.yaml").write_text("old\n")
    assert forge("show", "nosuch=1", "-o", "out.yaml").returncode == 2
    assert (project / "out.yaml").read_text() == "old\n"


def test_a_device_is_written_and_not_replaced(forge: Forge) -> None:
    assert forge("show", "-o", "/dev/stdout").stdout == forge("show").stdout
    assert forge("show", "-o", "/dev/null").returncode == 0
    assert not os.path.isfile("/dev/null")


def test_the_editor_gets_the_result(forge: Forge, project: Path, tmp_path: Path) -> None:
    editor = tmp_path / "editor"
    editor.write_text(f'#!/bin/sh\ncp "$1" {tmp_path}/seen\necho "$1" > {tmp_path}/name\n')
    editor.chmod(0o755)
    done = forge("show", "-e", EDITOR=str(editor))
    assert (done.returncode, done.stdout) == (0, "")
    assert (tmp_path / "seen").read_text() == forge("show").stdout
    assert (tmp_path / "name").read_text().strip().endswith("tiny.yaml")
    assert forge("show", "-e", "-o", "kept.yaml", EDITOR=str(editor)).returncode == 0
    assert (tmp_path / "name").read_text().strip() == "kept.yaml"
    assert (project / "kept.yaml").exists()


def test_edit_opens_the_projects_own_files(forge: Forge, project: Path, tmp_path: Path) -> None:
    editor = tmp_path / "editor"
    editor.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path}/names\n')
    editor.chmod(0o755)
    assert forge("-t", "other", "edit", EDITOR=str(editor)).returncode == 0
    assert sorted((tmp_path / "names").read_text().split()) == sorted(
        str(project / "configs" / name) for name in ("other.yaml", "tiny.yaml", "size/large.yaml")
    )


@pytest.mark.parametrize("words", [["show"], ["graph", "--format", "html"], ["ls"], ["--help"]], ids=" ".join)
def test_a_closed_pipe_is_silent(project: Path, environment: dict[str, str], words: list[str]) -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "forge", *words],
        cwd=project,
        env=environment,
        stdout=write,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(write)
    assert done.stderr == b""
    assert done.returncode == 141


def test_a_full_disk_is_an_error(project: Path, environment: dict[str, str]) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "forge", "show"],
            cwd=project,
            env=environment,
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
            text=True,
        )
    assert done.returncode == 2
    assert "No space left" in done.stderr
    assert "Traceback" not in done.stderr


def test_closed_streams_do_no_harm(project: Path, environment: dict[str, str]) -> None:
    command = f"{sys.executable} -m forge show >&- 2>&-"
    assert subprocess.run(["sh", "-c", command], cwd=project, env=environment, check=False).returncode == 0


def test_ctrl_c_ends_a_running_verb_with_130(project: Path, environment: dict[str, str], tmp_path: Path) -> None:
    editor = tmp_path / "editor"
    editor.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\nexec sleep 30\n")
    editor.chmod(0o755)
    running = subprocess.Popen(
        [sys.executable, "-m", "forge", "edit"],
        cwd=project,
        env={**environment, "EDITOR": str(editor)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    for _ in range(400):
        if (tmp_path / "started").exists():
            break
        time.sleep(0.05)
    os.killpg(running.pid, signal.SIGINT)
    out, errors = running.communicate(timeout=20)
    assert running.returncode == 130
    assert (out, errors) == (b"", b"")


def test_a_terminal_gets_colours_and_a_pipe_does_not(project: Path, environment: dict[str, str]) -> None:
    import pty  # noqa: PLC0415 - only here

    master, slave = pty.openpty()
    environment = {**environment, "TERM": "xterm"}
    environment.pop("NO_COLOR")
    subprocess.run([sys.executable, "-m", "forge", "show"], cwd=project, env=environment, stdout=slave, check=True)
    os.close(slave)
    text = os.read(master, 65536).decode()
    os.close(master)
    assert "\x1b[" in text
    piped = subprocess.run(
        [sys.executable, "-m", "forge", "show"],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "\x1b[" not in piped.stdout


def test_a_terminal_that_knows_no_unicode_gets_question_marks(forge: Forge) -> None:
    done = forge("graph", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    assert "?" in done.stdout


def test_a_misplaced_flag_is_explained(forge: Forge) -> None:
    assert "-t stands before the verb: forge -t CONFIG show" in forge("show", "-t", "tiny").stderr
    assert "a verb's own flags stand behind the verb" in forge("--resolve", "show").stderr


def test_diff_gives_the_overrides_that_lead_from_one_to_the_other(forge: Forge) -> None:
    line = forge("diff", "tiny", "other", "--format", "overrides").stdout.split()
    assert "size=large" in line
    assert forge("diff", "tiny", *line, "other").returncode == 0


def test_check_r_checks_every_config_of_every_project(forge: Forge, project: Path) -> None:
    (project / "configs" / "bad.yaml").write_text("defaults: [{size: smal}]\n")
    done = forge("check", "-r", "--json")
    assert done.returncode == 2
    found = json.loads(done.stdout)
    assert any(one["config"] == "bad" and one["line"] == 1 and "small" in str(one) for one in found)


def test_ls_says_what_is_broken(forge: Forge, project: Path) -> None:
    (project / "configs" / "bad.yaml").write_text("defaults: [{size: smal}]\n")
    lines = forge("ls").stdout.splitlines()
    assert any(line.split()[0] == "bad" and "broken: configs/bad.yaml:1" in line for line in lines)
    assert any(line.startswith(" * tiny") and "A tiny config." in line for line in lines)


def test_a_command_stops_where_the_words_end(forge: Forge) -> None:
    assert "does not know what to do with 'extra'" in forge("show", "extra").stderr
