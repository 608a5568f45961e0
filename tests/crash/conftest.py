"""forge under strace, which kills it or lets the system fail at any one system call."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from forge.ml.checkpoint.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
FULL = os.environ.get("FORGE_FULL") == "1"
# Everything that touches a file: the whole class of calls with a path, and those on an open file.
CALLS = "%file,read,readv,write,writev,pwrite64,fsync,fdatasync,ftruncate,flock,getdents64,close,lseek,fstat"
_LINE = re.compile(r"(?P<thread>\d+) +(?P<name>\w+)\(")
_ONLY_LOOK = {"read", "readv", "lseek", "fstat", "newfstatat", "stat", "lstat", "statfs", "access", "readlink", "close"}


@dataclass(frozen=True)
class Call:
    """The so-and-so-many-th system call of one name."""

    name: str
    number: int
    text: str

    @property
    def changes(self) -> bool:
        """Whether it does something to the disk, and does not only look."""
        if self.name == "openat":
            return "O_CREAT" in self.text
        return self.name not in {*_ONLY_LOOK, "getdents64"}


@dataclass(frozen=True)
class Ended:
    """How a child ended, and the calls it made that succeeded."""

    code: int
    out: str
    errors: str
    log: str

    @property
    def report(self) -> dict[str, Any]:
        """What the child said about an error of forge's own."""
        return dict(json.loads(self.out))

    def renamed(self, what: str) -> bool:
        """Whether a folder called so was given its other name."""
        return any(
            "rename" in line and f"/{what}" in line.split(",")[0]
            for line in self.log.splitlines()
            if line.endswith("= 0")
        )


class Strace:
    """Runs tests/crash/child.py."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "strace.log"

    def run(self, action: str, folder: Path, *options: str, size: int = 1000) -> Ended:
        """Run one action under strace with these options of it."""
        command = ["strace", "-f", "-qq", "-s", "300", "-o", str(self.log), *options]
        command += [sys.executable, "-I", "-S", "-B", str(HERE / "child.py"), str(ROOT), action, str(folder), str(size)]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=60, env={"PATH": os.environ["PATH"]}
        )
        return Ended(done.returncode, done.stdout, done.stderr, self.log.read_text(errors="replace"))

    def calls(self, action: str, folder: Path, size: int = 1000) -> list[Call]:
        """The system calls of an action, between its two marks."""
        ended = self.run(action, folder, "-e", f"trace={CALLS}", size=size)
        assert ended.code == 0, ended.errors
        counts: Counter[str] = Counter()
        calls: list[Call] = []
        # strace counts the calls of each thread by themselves; other threads only read and hash.
        lines = [found for line in ended.log.splitlines() if (found := _LINE.match(line))]
        for found in lines:
            if found["thread"] == lines[0]["thread"]:
                counts[found["name"]] += 1
                calls.append(Call(found["name"], counts[found["name"]], found.string))
        begin, end = (
            next(i for i, call in enumerate(calls) if f"/forge-test-{mark}" in call.text) for mark in ("begin", "end")
        )
        return calls[begin + 1 : end]

    def changes(self, action: str, folder: Path) -> list[Call]:
        """Those of them that change something; all of them in a full run."""
        return [call for call in self.calls(action, folder) if call.changes or FULL]

    def inject(self, action: str, folder: Path, call: Call, what: str, size: int = 1000) -> Ended:
        """Run an action in which something happens at one call."""
        return self.run(
            action,
            folder,
            "-e",
            f"trace=rename,{call.name}",
            "-e",
            f"inject={call.name}:{what}:when={call.number}",
            size=size,
        )


@pytest.fixture(scope="session")
def strace_works(tmp_path_factory: pytest.TempPathFactory) -> None:
    if shutil.which("strace") is None:
        pytest.skip("needs strace")
    log = tmp_path_factory.mktemp("strace") / "log"
    done = subprocess.run(["strace", "-f", "-o", log, "true"], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"strace may not trace here: {done.stderr.strip()}")


@pytest.fixture
def strace(strace_works: None, tmp_path: Path) -> Strace:
    assert strace_works is None
    return Strace(tmp_path)


@pytest.fixture(scope="session")
def child() -> ModuleType:
    """The child's own functions, to make and to know what it makes."""
    spec = importlib.util.spec_from_file_location("crash_child", HERE / "child.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    before = list(sys.argv), list(sys.path)
    try:
        sys.argv = ["child.py", str(ROOT)]
        spec.loader.exec_module(module)
    finally:
        sys.argv, sys.path = before
    return module


@pytest.fixture
def with_steps(child: ModuleType, tmp_path: Path) -> Callable[..., Path]:
    """``with_steps(1, 2)`` is an output folder with checkpoints of these steps."""

    def make(*steps: int, size: int = 1000, name: str = "model") -> Path:
        store = Store(tmp_path / name / "checkpoints")
        for step in steps:
            child.save(store, step, size)
        store.release()
        return tmp_path / name

    return make


@pytest.fixture
def afresh(tmp_path: Path) -> Callable[[Path], Path]:
    """A copy of a folder in place of the last copy."""

    def copy(folder: Path) -> Path:
        target = tmp_path / "afresh"
        if target.exists():
            shutil.rmtree(target)
        return Path(shutil.copytree(folder, target, symlinks=True))

    return copy
