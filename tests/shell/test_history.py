from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from forge.shell import history
from forge.shell.history import LineHistory, history_file, is_kept

ROOT = Path(__file__).resolve().parents[2]
WRITER = """
import sys
from forge.shell.history import LineHistory
lines = LineHistory(lambda: sys.argv[1])
sys.stdin.readline()
for number in range(1000):
    lines.add(f"set writer={sys.argv[2]} number={number} " + "x" * (number % 50))
"""


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FORGE_DATA_HOME", str(tmp_path / "data"))
    (tmp_path / "one").mkdir()
    return tmp_path / "one"


def kept(folder: Path) -> LineHistory:
    return LineHistory(lambda: str(folder))


def test_lines_come_back_as_they_were_typed(workspace: Path) -> None:
    typed = ["show a=1", "show 'a\\nb' \\", "first\nsecond \\n", "é 你好"]
    for line in typed:
        kept(workspace).add(line)
    assert kept(workspace).lines() == typed


def test_another_shell_sees_the_line_and_another_workspace_does_not(workspace: Path) -> None:
    one, other = kept(workspace), kept(workspace)
    assert other.lines() == []
    one.add("show")
    one.add("show")
    assert other.lines() == ["show"]
    other.add("graph")
    assert one.lines() == ["show", "graph"]
    one.add("show")
    assert other.lines() == one.lines() == ["graph", "show"]
    assert kept(workspace.parent).lines() == []


def test_a_shell_that_goes_to_another_project_has_its_lines(workspace: Path) -> None:
    here = [str(workspace)]
    lines = LineHistory(lambda: here[0])
    lines.add("one")
    here[0] = str(workspace.parent)
    assert lines.lines() == []
    lines.add("two")
    here[0] = str(workspace)
    assert lines.lines() == ["one"]


def test_two_workspaces_of_one_name_have_a_file_each_and_nobody_else_reads_it(workspace: Path) -> None:
    assert history_file("/a/demo") != history_file("/b/demo")
    assert os.path.basename(history_file("/a/de mo")).startswith("de-mo-")
    assert history_file(str(workspace)) == history_file(str(workspace / "."))
    kept(workspace).add("show")
    path = history_file(str(workspace))
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert stat.S_IMODE(os.stat(os.path.dirname(path)).st_mode) == 0o700


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("show", True),
        ("set trainer.max_tokens=3 data.tokenizer=x", True),
        ("why api_key", True),
        (" show", False),
        ("   ", False),
        ("", False),
        ("set hub.api_key=abc", False),
        ("set '++hub={api_key: abc}'", False),
        ("train --hf-token abc", False),
        ("train --hf-token=abc", False),
        ("train --hf-token", True),
        ("!export HF_TOKEN=abc", False),
        ("show; set wandb.password=x", False),
        ("set 'password=not closed", False),
    ],
)
def test_secrets_and_lines_with_a_blank_before_them_are_not_kept(line: str, expected: object) -> None:
    assert is_kept(line) is expected


def test_the_file_stays_small_and_keeps_the_newest(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "_MOST_BYTES", 2000)
    lines = kept(workspace)
    for number in range(500):
        lines.add(f"show number={number}")
        assert os.path.getsize(history_file(str(workspace))) < 2100
    found = kept(workspace).lines()
    assert found[-1] == "show number=499"
    assert len(found) > 40
    assert [int(line.rpartition("=")[2]) for line in found] == list(range(500 - len(found), 500))


def test_a_torn_end_costs_one_line(workspace: Path) -> None:
    kept(workspace).add("show")
    path = history_file(str(workspace))
    with open(path, "a") as file:
        file.write("torn")
    kept(workspace).add("graph")
    assert kept(workspace).lines() == ["show", "torn", "graph"]


def test_where_nothing_can_be_written_the_lines_are_known_until_the_end(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (workspace / "file").touch()
    monkeypatch.setenv("FORGE_DATA_HOME", str(workspace / "file"))
    lines = kept(workspace)
    lines.add("show")
    assert lines.lines() == ["show"]


def test_eight_shells_at_once_lose_and_tear_nothing(workspace: Path) -> None:
    words = [sys.executable, "-c", WRITER, str(workspace)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    shells = [
        subprocess.Popen([*words, str(number)], stdin=subprocess.PIPE, text=True, env=environment)
        for number in range(8)
    ]
    for shell in shells:  # all begin together
        assert shell.stdin is not None
        shell.stdin.write("\n")
        shell.stdin.close()
    assert [shell.wait(timeout=60) for shell in shells] == [0] * 8
    written = Path(history_file(str(workspace))).read_text().splitlines()
    assert sorted(written) == sorted(
        f"set writer={writer} number={number} " + "x" * (number % 50) for writer in range(8) for number in range(1000)
    )
