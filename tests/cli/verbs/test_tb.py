from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest

from forge.launch import process

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "..", "render"))
from chromium import PROGRAM, Chromium

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import Run

EVENT = """
import sys
from torch.utils.tensorboard import SummaryWriter
with SummaryWriter(sys.argv[1]) as writer:
    writer.add_scalar("train/loss", 2.5, 7)
"""


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What would be started, which then ends with code 5."""
    commands: list[list[str]] = []

    def record(command: list[str]) -> int:
        commands.append(command)
        return 5

    monkeypatch.setattr(process, "run_command", record)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    return commands


def test_all_runs_are_shown_to_this_machine_alone(run: Run, project: Path, started: list[list[str]]) -> None:
    (project / "output").mkdir()
    done = run("tb")
    assert (done.code, done.out) == (5, "")
    assert started == [[sys.executable, "-m", "tensorboard.main", "--logdir", "output", "--host", "localhost"]]
    assert "nothing is written below output yet" in done.errors


def test_arguments_behind_the_dashes_are_given_on(run: Run, empty: Path, started: list[list[str]]) -> None:
    (empty / "events.out.tfevents.1").touch()
    done = run("tb", "--output-dir", str(empty), "--", "--port", "6007", "--reload_interval=5", cwd=empty)
    assert started[0][3:] == ["--logdir", str(empty), "--host", "localhost", "--port", "6007", "--reload_interval=5"]
    assert done.errors == ""


@pytest.mark.parametrize("host", [["--bind_all"], ["--host", "0.0.0.0"], ["--host=0.0.0.0"]])  # noqa: S104 - only looked at
def test_who_may_look_is_the_users_word(run: Run, empty: Path, started: list[list[str]], host: list[str]) -> None:
    assert run("tb", "--output-dir", str(empty), "--", *host).code == 5
    assert started[0][5:] == host


def test_a_config_stands_for_the_folder_it_writes_to(run: Run, project: Path, started: list[list[str]]) -> None:
    (project / "output" / "demo" / "tiny").mkdir(parents=True)
    assert run("-t", "tiny", "tb").code == 5
    (project / "configs" / "there.yaml").write_text("defaults: [tiny, _self_]\ntrainer: {output_dir: elsewhere}\n")
    (project / "elsewhere").mkdir()
    assert run("-t", "there", "tb").code == 5
    assert [command[4] for command in started] == [os.path.join("output", "demo", "tiny"), "elsewhere"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["tb"], "there is no folder output with runs in it"),
        (["-t", "tiny", "tb"], "there is no folder output/demo/tiny with runs in it"),
        (["tb", "--output-dir", "nosuch"], "there is no folder nosuch with runs in it"),
        (["tb", "runs"], "write forge tb --output-dir runs; TensorBoard's own arguments stand behind --"),
        (["tb", "--port", "1"], "tb has no flag '--port'"),
        (["-t", "nosuch", "tb"], "nosuch"),
    ],
)
def test_a_mistake_is_named(run: Run, started: list[list[str]], words: list[str], said: str) -> None:
    done = run(*words)
    assert done.code == 2
    assert said in done.errors
    assert started == []


def test_a_missing_tensorboard_is_named_with_its_extra(run: Run, empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    done = run("tb", "--output-dir", str(empty))
    assert done.code == 1
    assert done.errors == (
        "error: TensorBoard is not installed\n  pip install 'forge[train]', or pip install tensorboard\n"
    )


@contextlib.contextmanager
def served(folder: Path, environment: dict[str, str]) -> Iterator[str]:
    """A real TensorBoard on a free port of this machine; its address."""
    command = [sys.executable, "-m", "forge", "tb", "--output-dir", str(folder), "--", "--port", "0"]
    with subprocess.Popen(
        command, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as server:
        assert server.stderr is not None
        try:
            found = next(
                (match for line in server.stderr if (match := re.search(r"http://localhost:\d+/", line))), None
            )
            assert found is not None
            yield found[0]
            server.send_signal(signal.SIGTERM)
            server.wait(30)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGKILL)


def ask(address: str, path: str) -> Any:
    with urllib.request.urlopen(address + path, timeout=30) as answer:  # noqa: S310 - the address is our own server's
        return json.load(answer)


@pytest.mark.slow
@pytest.mark.torch
def test_a_real_tensorboard_serves_a_scalar(tmp_path: Path, environment: dict[str, str]) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("tensorboard")
    events = tmp_path / "out" / "runs" / "1-tiny" / "tensorboard"
    subprocess.run([sys.executable, "-c", EVENT, str(events)], check=True, timeout=60)
    with served(tmp_path / "out", environment) as address:
        run = "runs/1-tiny/tensorboard"
        query = "data/plugin/scalars/scalars?tag=train/loss&run=" + urllib.request.quote(run, safe="")
        for _ in range(100):  # it reads the files behind its first answer
            if run in ask(address, "data/runs"):
                break
            time.sleep(0.1)
        assert [point[1:] for point in ask(address, query)] == [[7, 2.5]]
        if PROGRAM:
            _look(address, str(tmp_path / "profile"), [run, "train"])


def _look(address: str, profile: str, shown: list[str]) -> None:
    """Open the page in a browser, until it shows all of this; it asks nobody but the server."""
    with Chromium(profile) as browser:
        tab = browser.open(address)
        end = time.monotonic() + 60
        while not all(text in tab.run("document.body.innerText") for text in shown):
            assert time.monotonic() < end, tab.run("document.body.innerText")
            time.sleep(0.2)
        assert {one.split("/")[2] for one in tab.requests() if one.startswith("http")} == {address.split("/")[2]}
