"""The highlighters of the two editors, run on files: VS Code's TextMate engine in node, and vim itself."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Tokenise = Callable[[Sequence[Path]], dict[Path, "Tokens"]]

ROOT = Path(__file__).parents[2]
SYNTAX = ROOT / "syntax"
FIXTURES = SYNTAX / "fixtures"
SECONDS = 120
# Vim's regular expressions give memory back to the system and ask for it again a hundred thousand times a second.
ALLOCATOR = {"MALLOC_TRIM_THRESHOLD_": "1000000000", "MALLOC_TOP_PAD_": "16000000"}


class Span(NamedTuple):
    """Characters of one line, and what a highlighter says of them, outermost name first."""

    start: int
    end: int
    names: tuple[str, ...]


class Tokens(NamedTuple):
    """The lines of a file, and the spans of each."""

    lines: list[str]
    spans: list[list[Span]]


def required(program: str) -> str:
    """The path of a program; where it is missing the test is skipped, but not in CI."""
    found = shutil.which(program)
    if found is None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"there is no {program} on PATH; CI needs one")
        pytest.skip(f"there is no {program} on PATH")
    return found


def run(words: Sequence[object], folder: Path, **variables: str) -> str:
    """What a program prints; the test fails with what it complained about when it ends badly."""
    name, *given = (str(word) for word in words)
    done = subprocess.run(
        [required(name), *given],
        cwd=folder,
        env={**os.environ, **ALLOCATOR, **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"{name} ended with {done.returncode}\n{done.stderr}{done.stdout}"
    return done.stdout


@pytest.fixture(scope="session")
def program() -> Callable[..., str]:
    """Runs a program in a folder; the test is skipped where there is none."""
    return run


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], object]], Path]:
    """A folder of a name, filled by a function; once for all processes of a test run."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def fill(name: str, make: Callable[[Path], object]) -> Path:
        folder = shared / f"syntax-{name}"
        with open(f"{folder}.lock", "a", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if os.fstat(lock.fileno()).st_size == 0:
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                make(folder)
                lock.write("done")
        return folder

    return fill


@pytest.fixture(scope="session")
def installed(once: Callable[..., Path]) -> Callable[[Path], Path]:
    """A copy of a folder with a package.json, with what it asks for installed."""
    required("node")

    def install(source: Path, folder: Path) -> None:
        shutil.copytree(source, folder, ignore=shutil.ignore_patterns("node_modules", "*.vsix"), dirs_exist_ok=True)
        run(["npm", "install", "--prefer-offline", "--no-package-lock", "--ignore-scripts", "--omit=optional"], folder)

    return lambda source: once(source.name, lambda folder: install(source, folder))


@pytest.fixture(scope="session")
def textmate(once: Callable[..., Path], installed: Callable[[Path], Path]) -> Tokenise:
    """Tokenises files as VS Code does, with the extension of this checkout."""

    def tokenise(files: Sequence[Path], folder: Path) -> None:
        script = installed(FIXTURES) / "tokenise.mjs"
        (folder / "tokens").write_text(run(["node", script, SYNTAX / "vscode", *files], folder), encoding="utf-8")

    return lambda files: read_tokens(files, once(f"textmate-{name_of(files)}", lambda folder: tokenise(files, folder)))


@pytest.fixture(scope="session")
def edit(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Starts vim with the plugin of this checkout and nothing else; what it prints."""
    folder = tmp_path_factory.mktemp("vim")

    def start(*words: object) -> str:
        plugin = f"set runtimepath^={SYNTAX / 'vim'}"
        return run(["vim", "-N", "-u", "NONE", "-i", "NONE", "-n", "-es", "--cmd", plugin, *words], folder)

    return start


@pytest.fixture(scope="session")
def vim(once: Callable[..., Path], edit: Callable[..., str]) -> Tokenise:
    """Tokenises files with vim's own syntax engine."""

    def tokenise(files: Sequence[Path], folder: Path) -> None:
        (folder / "tokens").write_text(edit("-S", FIXTURES / "tokenise.vim", *files), encoding="utf-8")

    return lambda files: read_tokens(files, once(f"vim-{name_of(files)}", lambda folder: tokenise(files, folder)))


def name_of(files: Sequence[Path]) -> str:
    return f"{zlib.crc32(repr(files).encode()):08x}"


def read_tokens(files: Sequence[Path], folder: Path) -> dict[Path, Tokens]:
    found = {}
    for file, line in zip(files, (folder / "tokens").read_text(encoding="utf-8").splitlines(), strict=True):
        spans = [[Span(start, end, tuple(names)) for start, end, names in one] for one in json.loads(line)]
        lines = file.read_text(encoding="utf-8").splitlines()
        found[file] = Tokens(lines, spans[: len(lines)])
    return found
