from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from forge.base.errors import ToolError
from forge.cli.editor import Editor, edit_text, find_editor, named_file, open_files, vscode_around

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def programs(tmp_path: Path) -> Callable[..., Path]:
    """Makes small programs that write down how they were called."""
    folder = tmp_path / "bin"
    folder.mkdir()

    def make(path: str, code: int = 0) -> Path:
        program = folder / path if "/" not in path else tmp_path / path
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$0" "$@" > {tmp_path}/called\nexit {code}\n')
        program.chmod(0o755)
        return program

    return make


@pytest.fixture
def called(tmp_path: Path) -> Callable[[], list[str]]:
    """The command line of the editor that ran."""
    return lambda: (tmp_path / "called").read_text().splitlines()


def environ(tmp_path: Path, **more: str) -> dict[str, str]:
    return {"PATH": f"{tmp_path}/bin:/usr/bin:/bin", "HOME": str(tmp_path), **more}


@pytest.mark.parametrize(
    "place",
    [".vscode-server/bin/abc/bin/remote-cli/code", ".vscode-server/cli/servers/Stable-abc/server/bin/remote-cli/code"],
)
def test_a_remote_vs_code_is_asked_first(
    place: str, tmp_path: Path, programs: Callable[..., Path], called: Callable[[], list[str]]
) -> None:
    remote, _ = programs(place), programs("vim")
    open_files(
        ["a.yaml", "b.yaml"], environ(tmp_path, VSCODE_IPC_HOOK_CLI="/run/x.sock", VIM_SERVERNAME="V", EDITOR="vim")
    )
    assert called() == [str(remote), "--reuse-window", "a.yaml", "b.yaml"]


def test_the_newest_remote_vs_code_wins(tmp_path: Path, programs: Callable[..., Path]) -> None:
    new, old = (
        programs(".vscode-server/bin/aaa/bin/remote-cli/code"),
        programs(".vscode-server/bin/zzz/bin/remote-cli/code"),
    )
    os.utime(old, (1, 1))
    assert find_editor(environ(tmp_path, VSCODE_IPC_HOOK_CLI="x")).command[0] == str(new)


def test_a_terminal_of_vs_code_opens_it(
    tmp_path: Path, programs: Callable[..., Path], called: Callable[[], list[str]]
) -> None:
    code = programs("code")
    open_files(["a b.yaml"], environ(tmp_path, TERM_PROGRAM="vscode", EDITOR="vim"))
    assert called() == [str(code), "--reuse-window", "a b.yaml"]


def test_a_remote_session_without_its_program_falls_back(tmp_path: Path, programs: Callable[..., Path]) -> None:
    programs("mine")
    assert find_editor(environ(tmp_path, VSCODE_IPC_HOOK_CLI="x", EDITOR="mine")).name == "mine"


def test_a_vim_server_gets_tabs(tmp_path: Path, programs: Callable[..., Path], called: Callable[[], list[str]]) -> None:
    vim = programs("vim")
    open_files(["a.yaml"], environ(tmp_path, VIM_SERVERNAME="WORK", EDITOR="nano"))
    assert called() == [str(vim), "--servername", "WORK", "--remote-tab-silent", "a.yaml"]


def test_visual_goes_before_editor_and_may_have_flags(
    tmp_path: Path, programs: Callable[..., Path], called: Callable[[], list[str]]
) -> None:
    mine = programs("mine")
    open_files(["a.yaml"], environ(tmp_path, VISUAL="mine --wait 'two words'", EDITOR="other"))
    assert called() == [str(mine), "--wait", "two words", "a.yaml"]


def test_no_editor_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="export EDITOR=vim"):
        find_editor(environ(tmp_path))


@pytest.mark.parametrize("text", ["nosuchprogram", "'unclosed"])
def test_an_editor_that_is_not_there_is_named(text: str, tmp_path: Path) -> None:
    with pytest.raises(ToolError, match=r"\$EDITOR is"):
        find_editor(environ(tmp_path, EDITOR=text))


def test_a_failing_editor_is_an_error(tmp_path: Path, programs: Callable[..., Path]) -> None:
    programs("mine", code=3)
    with pytest.raises(ToolError, match="exit code 3"):
        open_files(["a"], environ(tmp_path, EDITOR="mine"))


def test_a_text_is_opened_under_a_name_with_its_suffix(
    tmp_path: Path, programs: Callable[..., Path], called: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    programs("mine")
    for name, value in environ(tmp_path, EDITOR="mine").items():
        monkeypatch.setenv(name, value)
    for name in ("VSCODE_IPC_HOOK_CLI", "TERM_PROGRAM", "VIM_SERVERNAME", "VISUAL"):
        monkeypatch.delenv(name, raising=False)
    path = edit_text("a: 1\n", "pretrain/tiny", ".yaml")
    assert called()[1:] == [path]
    assert path.endswith("/pretrain-tiny.yaml")
    with open(path) as file:
        assert file.read() == "a: 1\n"


def test_a_real_vim_server_opens_the_file_in_its_tab(tmp_path: Path) -> None:
    version = (
        subprocess.run(["vim", "--version"], capture_output=True, text=True, check=False).stdout
        if shutil.which("vim")
        else ""
    )
    if "+clientserver" not in version or not os.environ.get("DISPLAY"):
        pytest.skip("this vim has no +clientserver, or there is no display that its servers meet on")
    name, opened = f"FORGE{os.getpid()}", tmp_path / "opened"
    os.mkfifo(opened)
    server = subprocess.Popen(
        [
            "vim",
            "--servername",
            name,
            "-u",
            "NONE",
            "-c",
            f"autocmd BufReadPost * call writefile([expand('%:p')], '{opened}')",
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        (tmp_path / "a.yaml").write_text("a: 1\n")
        open_files([str(tmp_path / "a.yaml")], {**os.environ, "VIM_SERVERNAME": name})
        assert opened.read_text().strip() == str(tmp_path / "a.yaml")
    finally:
        server.kill()
        server.wait()


def test_the_vs_code_around_is_none_outside_of_it(tmp_path: Path, programs: Callable[..., Path]) -> None:
    code = programs("code")
    assert vscode_around(environ(tmp_path)) is None
    assert vscode_around(environ(tmp_path, TERM_PROGRAM="vscode")) == Editor((str(code), "--reuse-window"), "VS Code")


def test_a_text_gets_a_file_whose_name_says_what_it_is() -> None:
    path = named_file("<svg/>\n", "pretrain/tiny: 1", ".svg")
    assert os.path.basename(path) == "pretrain-tiny--1.svg"
    with open(path) as file:
        assert file.read() == "<svg/>\n"
