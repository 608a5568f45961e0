"""The tutorials, walked: every command in the tables of their projects is run.

Here each that takes no time is run as it stands and each training as a dry run. With FORGE_FULL=1 every table is walked from its first
line to its last, on tiny models that a Hub on this machine has: downloaded, converted, trained, stopped, continued, served and exported.
"""

from __future__ import annotations

import functools
import hashlib
import http.server
import importlib.util
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest

import forge
from forge.__main__ import _shell
from forge.cli.main import main

sys.path.insert(0, os.path.dirname(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "render"))

from chromium import PROGRAM, Chromium
from tutorial import PROJECTS, ROOT, Line, lines_of, looked_at, tiny

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FULL = bool(os.environ.get("FORGE_FULL"))
LINES = [line for project in PROJECTS for line in lines_of(project)]
TINY = {
    "mistralai/Mistral-7B-v0.1": "llama2",
    "meta-llama/Llama-3.2-1B-Instruct": "llama3_few_heads",
    "meta-llama/Llama-3.3-70B-Instruct": "llama3",
}
# What each is made of. No layout divides the matrices of the 1B model; the backward pass of heads of four numbers in bfloat16 takes
# ten times as long as that of float32, and there are as many steps as heads.
MADE = {
    "llama2": ("tiny/llama2",),
    "llama3": ("tiny/llama3",),
    "llama3_few_heads": ("tiny/llama3", "model.config.num_attention_heads=4", "model.config.num_key_value_heads=2"),
}
COMMIT = "0123456789" * 4
LONGEST = 900


def test_every_command_of_the_tutorials_is_there() -> None:
    counted = {project: sum(line.project == project for line in LINES) for project in PROJECTS}
    assert counted == {"samantha": 57, "torchtune_70b": 7, "nebius": 11, "llamafactory": 10, "nanotron": 13}


@pytest.mark.parametrize(
    "line",
    [line for line in LINES if looked_at(line)],
    ids=lambda line: f"{line.project}-{line.number}",
)
def test_a_command_is_understood(
    line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = looked_at(line)
    assert words is not None
    (tmp_path / "projects").symlink_to(ROOT / "projects")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDITOR", "true")
    monkeypatch.setenv("PAGER", "cat")
    for name, value in line.environment:
        monkeypatch.setenv(name, value)
    code = main(words, _shell)
    said = capsys.readouterr()
    assert code == 0, f"{line}\n{said.out}{said.err}"
    if line.verb == "train" and "--help" not in line.words:
        assert re.search(
            r"^(#!/bin/bash|apiVersion: v1)| -m forge\.(ml\.train|launch\.node) ", said.out, re.MULTILINE
        ), said.out


# ---- the whole way, on tiny models


@pytest.mark.slow
@pytest.mark.torch
@pytest.mark.timeout(3600)
@pytest.mark.skipif(not FULL, reason="set FORGE_FULL=1")
@pytest.mark.parametrize("project", PROJECTS)
def test_the_tutorial_is_walked_from_its_first_line_to_its_last(project: str, world: World) -> None:
    wrong = []
    for line in lines_of(project):
        began = time.monotonic()
        problem = world.walk(line)
        sys.stdout.write(f"{time.monotonic() - began:6.1f} s  {'FAILED ' if problem else ''}{line}\n")
        sys.stdout.flush()
        if problem:
            wrong.append(f"{line}\n{problem}")
    assert not wrong, "\n\n".join(wrong)


class World:
    """A folder as the tutorials have it, and what is running in it."""

    def __init__(self, folder: Path, models: dict[str, Path], hub: str) -> None:
        self.folder = folder
        self.models = models
        self.port, self.serving = _free_port(), _free_port()
        self.used: set[str] = set()
        self.running: list[subprocess.Popen[str]] = []
        self.waiting: subprocess.Popen[str] | None = None
        self.detached: list[str] = []
        home = {
            "HF_ENDPOINT": hub,
            "HF_HOME": str(folder / "hf"),
            "HF_HUB_DISABLE_XET": "1",
            "HOME": str(folder / "home"),
        }
        own = {f"FORGE_{kind}_HOME": str(folder / "home" / kind.lower()) for kind in ("CONFIG", "DATA", "CACHE")}
        self.environment = {**os.environ, **home, **own, "OMP_NUM_THREADS": "1", "EDITOR": "true", "PAGER": "cat"}
        self.environment |= {"CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT), "COLUMNS": "200"}

    def walk(self, line: Line) -> str:
        """Run a line as it was meant; what went wrong, or nothing."""
        if "adamw4bit" in line.config and importlib.util.find_spec("torchao") is None:
            return "" if "lowbit" in self.train(line) else "it does not say which extra is missing"
        if line.verb == "train" and line.trains:
            return self.train(line)
        if line.verb == "tb":
            return self.tensorboard(line)
        if line.words[:2] == ("inf", "server"):
            return self.serve(line)
        words = list(line.words)
        if line.words[:2] == ("inf", "client"):
            words += ["--url", f"http://127.0.0.1:{self.serving}/v1"]
            words += [] if "--max-tokens" in words else ["--max-tokens", "16"]  # such a model ends no turn
        if line.words[:2] == ("control", "abort"):
            problem = self.run(self.detached)
            if problem:
                return problem
        if line.verb == "control" and line.words[1] in ("status", "save", "stop", "abort"):
            self.wait_for_a_step()
        return self.run(words, dict(line.environment))

    def train(self, line: Line) -> str:
        """Look at what would run, then train."""
        data = _composed(line)
        output = self.output_of(line, data)
        resumed = "--resume-from-checkpoint" in line.words or line.value("--save-strategy") == "no"
        fresh = f"out/{line.number}" if output in self.used and not resumed else None
        if "--rdzv-endpoint" in line.words:
            fresh = "out/two_nodes"
        problem = self.run(looked_at(line, fresh) or [], dict(line.environment))
        if problem:
            return problem
        self.used.add(output if line.value("--save-strategy") != "no" else "")
        words = tiny(line, data, port=self.port, fresh=fresh)
        if "--detach" in words:
            self.detached = [word.replace("out/", "out/again_") for word in words]
        if "is_host=true" in line.words:
            self.waiting = self.start(words)
            return ""
        problem = self.run(words)
        if self.waiting is not None:
            out, _ = self.waiting.communicate(timeout=LONGEST)
            problem += out if self.waiting.returncode else ""
            self.waiting = None
        return problem

    def output_of(self, line: Line, data: dict[str, Any]) -> str:
        output = data["trainer"]["output_dir"] or f"output/{line.project}/{line.config}"
        return line.value("-M") if line.value("-M") and output == data["model"]["path"] else output

    def tensorboard(self, line: Line) -> str:
        port = _free_port()
        words = [word for word in line.words if word not in ("--port", "6006")]
        process = self.start([*words, "--port", str(port)])
        address = f"http://127.0.0.1:{port}/"
        run = (
            "tensorboard" if line.project == "samantha" else "TensorBoard"
        )  # the others' trainings have written nothing
        return self.answers(process, address) or self.look(address, run)

    def look(self, address: str, wanted: str) -> str:
        """Open a page in a browser, until it shows what is wanted; what it shows in its place, or nothing."""
        if not PROGRAM:
            return ""
        shown = ""
        with Chromium(str(self.folder / "profile")) as browser:
            tab = browser.open(address)
            end = time.monotonic() + 60
            while time.monotonic() < end:
                shown = tab.run("document.body.innerText")
                if wanted in shown:
                    return ""
                time.sleep(0.3)
        return f"the page shows {shown[:500]!r}"

    def serve(self, line: Line) -> str:
        process = self.start([*line.words, "--port", str(self.serving), "--device", "cpu"])
        return self.answers(process, f"http://127.0.0.1:{self.serving}/health")

    def answers(self, process: subprocess.Popen[str], url: str) -> str:
        self.running.append(process)
        end = time.monotonic() + 120
        while time.monotonic() < end and process.poll() is None:
            try:
                with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - this machine's own
                    return "" if answer.status == 200 else f"answered {answer.status}"
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                time.sleep(0.3)
        return f"{url} did not answer"

    def wait_for_a_step(self) -> None:
        end = time.monotonic() + 120
        while time.monotonic() < end:
            done = self.done(["control", "list", "--json"])
            jobs = json.loads(done.stdout or "[]")
            if any("running" in str(job.get("state")) and job.get("step") for job in _jobs(jobs)):
                return
            time.sleep(0.5)

    def start(self, words: list[str]) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "forge", *words],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def done(self, words: list[str], variables: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "forge", *words],
            cwd=self.folder,
            env={**self.environment, **(variables or {})},
            input="Hello Samantha. How are you feeling today?\n/quit\n",
            capture_output=True,
            text=True,
            check=False,
            timeout=LONGEST,
        )

    def run(self, words: list[str], variables: dict[str, str] | None = None) -> str:
        done = self.done(words, variables)
        if done.returncode in ((0, 1) if words[0] == "doctor" else (0,)):  # it says by 1 that this machine has a fault
            return ""
        return f"exit {done.returncode}: {' '.join(words)}\n{done.stdout[-1500:]}{done.stderr[-3000:]}"

    def close(self) -> None:
        for process in [*self.running, *([self.waiting] if self.waiting else [])]:
            process.send_signal(signal.SIGTERM)
            try:
                process.communicate(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Tiny models of both families, made by forge as the project says."""
    folder = tmp_path_factory.mktemp("models")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for name, (config, *changed) in MADE.items():
        project = ["-p", str(ROOT / "projects" / "samantha"), "-t", config]
        words = [*project, "train", "-d", "cpu", "--max-steps", "2", "--output-dir", str(folder / name), *changed]
        done = subprocess.run(
            [sys.executable, "-m", "forge", *words],
            env=environment,
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    return {name: folder / name / "checkpoints" / "checkpoint-2" for name in MADE}


@pytest.fixture
def world(models: dict[str, Path], tmp_path: Path) -> Iterator[World]:
    (tmp_path / "projects").symlink_to(ROOT / "projects")
    _write_data(tmp_path / "data")
    shutil.copytree(models["llama3"], tmp_path / "models" / "tiny")
    shutil.copytree(models["llama3"], tmp_path / "models" / "Llama-3.1-8B-Instruct")
    shown = {repository: models[name] for repository, name in TINY.items()}
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Hub, shown))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    made = World(tmp_path, models, f"http://127.0.0.1:{server.server_port}")
    yield made
    made.close()
    server.shutdown()
    thread.join()
    server.server_close()


def _write_data(folder: Path) -> None:
    """Local folders laid out like the datasets of the Hub that the configs name."""
    talks = (ROOT / "projects" / "samantha" / "src" / "samantha_talks" / "train.jsonl").read_text()
    rows = [json.loads(row)["conversations"] for row in talks.splitlines()]
    written = {
        "talks": [{"conversations": row} for row in rows],
        "instructions": [{"instruction": row[0]["value"], "input": "", "output": row[1]["value"]} for row in rows],
        "text": [{"text": "\n".join(turn["value"] for turn in row)} for row in rows],
    }
    for name, contents in written.items():
        (folder / name).mkdir(parents=True)
        (folder / name / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in contents))


def _composed(line: Line) -> dict[str, Any]:
    data: dict[str, Any] = forge.open(str(ROOT / "projects" / line.project)).config(line.config).data(resolve=True)
    return data


def _jobs(found: Any) -> list[dict[str, Any]]:
    return found if isinstance(found, list) else found.get("jobs", [])


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


class _Hub(http.server.BaseHTTPRequestHandler):
    """As much of the Hub as it takes to download a model: its files are those of a checkpoint."""

    protocol_version = "HTTP/1.1"

    def __init__(self, shown: dict[str, Path], *args: Any) -> None:
        self.shown = shown
        super().__init__(*args)

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        found = [(name, folder) for name, folder in self.shown.items() if f"/{name}" in path]
        if not found:
            self._answer(b"", {"x-error-code": "RepoNotFound"}, 404)
            return
        name, folder = found[0]
        if "/resolve/" in path:
            content = (folder / path.partition(f"{COMMIT}/")[2]).read_bytes()
            self._answer(content, {"etag": f'"{_git_hash(content)}"', "x-repo-commit": COMMIT})
            return
        files = [file for file in sorted(folder.iterdir()) if file.is_file()]
        if "/tree/" in path:
            listed = [
                {"type": "file", "oid": "0" * 40, "size": file.stat().st_size, "path": file.name} for file in files
            ]
            self._answer(json.dumps(listed).encode())
            return
        contents = {file.name: file.read_bytes() for file in files}
        siblings = [
            {"rfilename": name, "size": len(content), "blobId": _git_hash(content)}
            for name, content in contents.items()
        ]
        self._answer(json.dumps({"id": name, "sha": COMMIT, "siblings": siblings}).encode())

    def do_HEAD(self) -> None:
        self.do_GET()

    def _answer(self, content: bytes, headers: dict[str, str] | None = None, code: int = 200) -> None:
        self.send_response(code)
        for key, value in {"content-length": str(len(content)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Nothing: a test says what it found."""


def _git_hash(content: bytes) -> str:
    return hashlib.sha1(f"blob {len(content)}\0".encode() + content, usedforsecurity=False).hexdigest()
