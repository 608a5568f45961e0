"""Reads the code blocks of Markdown pages and runs what they show.

Each block names its language. A ``bash`` or ``sh`` block is run as one script; a ``console`` block (or one with ``$ ``
in it) has commands behind ``$ ``, continued by ``> ``, and below each of them its output, where ``...`` stands for
anything; a command that ends in ``# exit 1`` is expected to end with that code. A ``python`` block is a program of its
own. The blocks of a page run in order in one scratch copy of the checkout. ``<!-- not run: reason -->`` right above a
block leaves it out; ``<!-- fails: reason -->`` says that its commands end with an exit code other than 0, and
``<!-- long: reason -->`` that it runs only at full size, with FORGE_FULL=1.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
RUNNABLE = ("bash", "sh", "console", "python")
LEFT_OUT = {".git", ".venv", ".hypothesis", "dist", "build-out", "output", "demo", "tests"}  # at the top
LONGEST = 300
FULL = bool(os.environ.get("FORGE_FULL"))
PART_OF_PYDOC = 1 if FULL else 8
"""The pages run on the text of every eighth module that the project pydoc reads: other figures, and the same in all else."""

_FENCE = re.compile(r"^(?P<indent> *)(?P<ticks>`{3,}|~{3,})\s*(?P<language>[\w+-]*)")
_NOTE = re.compile(r"<!--\s*(?P<kind>not run|fails|long):(?P<reason>(?:(?!-->).)*)-->\s*\Z", re.DOTALL)
_EXIT = re.compile(r"#.*\bexit(?: code)? (\d+)\s*\Z")
_MARK = "\x1e"


@dataclass(frozen=True)
class Block:
    language: str
    lines: tuple[str, ...]
    line: int
    not_run: str | None = None
    fails: str | None = None
    long: str | None = None

    @property
    def runs(self) -> bool:
        return self.language in RUNNABLE and self.not_run is None and (FULL or self.long is None)

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


@dataclass(frozen=True)
class Command:
    text: str
    output: str
    code: int | None
    """The exit code it ends with; None for any but 0."""

    def ends_with(self, code: str) -> bool:
        return code == str(self.code) if self.code is not None else code not in ("0", "none")


def pages() -> list[Path]:
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def read_blocks(markdown: str) -> list[Block]:
    """The fenced blocks of a page, in order."""
    blocks: list[Block] = []
    lines = markdown.splitlines()
    number = 0
    while number < len(lines):
        fence = _FENCE.match(lines[number])
        if fence is None:
            number += 1
            continue
        end = number + 1
        while end < len(lines) and not _closes(lines[end], fence["ticks"]):
            end += 1
        inside = tuple(line.removeprefix(fence["indent"]) for line in lines[number + 1 : end])
        note = _NOTE.search("\n".join(lines[max(0, number - 4) : number]).rstrip())
        reasons = {note["kind"]: " ".join(note["reason"].split())} if note else {}
        language = fence["language"].lower()
        notes = (reasons.get(kind) for kind in ("not run", "fails", "long"))
        blocks.append(Block(language, inside, number + 1, *notes))
        number = end + 1
    return blocks


def _closes(line: str, ticks: str) -> bool:
    bare = line.strip()
    return len(bare) >= len(ticks) and set(bare) == {ticks[0]}


def read_commands(block: Block) -> list[Command]:
    """The commands of a block, each with the output shown for it."""
    usual = None if block.fails else 0
    if block.language != "console" and not any(line.startswith("$ ") for line in block.lines):
        return [Command(block.text, "", usual)]
    commands: list[list[list[str]]] = []
    for line in block.lines:
        if line.startswith("$ "):
            commands.append([[line[2:]], []])
        elif line.startswith("> ") and commands and not commands[-1][1] and _goes_on(commands[-1][0][-1]):
            commands[-1][0].append(line[2:])
        elif commands:
            commands[-1][1].append(line)
        elif line.strip():
            raise ValueError(f"line {block.line}: output before the first command")
    return [
        Command("\n".join(typed), "\n".join(shown).strip("\n"), int(found[1]) if found else usual)
        for typed, shown in commands
        for found in [_EXIT.search(typed[-1])]
    ]


def _goes_on(line: str) -> bool:
    return line.endswith(("\\", "|", "&&", "||")) or "<<" in line


def matches(shown: str, actual: str) -> bool:
    """Whether the output is what the page shows; ``...`` stands for anything, nothing shown asks for nothing."""
    if not shown.strip():
        return True
    expected = ".*".join(re.escape(part) for part in _trimmed(shown).split("..."))
    return re.fullmatch(expected, _trimmed(actual), re.DOTALL) is not None


def _trimmed(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip("\n").splitlines())


def run_block(block: Block, folder: Path) -> list[str]:
    """Run one block in a folder; what went otherwise than shown, a text each."""
    if block.language == "python":
        done = _run([sys.executable, "-c", block.text], folder)
        right = (done.returncode != 0) is (block.fails is not None)
        return [] if right else [f"line {block.line}: exit {done.returncode}\n{done.stdout}"]
    commands = read_commands(block)
    steps = [f"set +e\n{command.text}\nprintf '{_MARK}%s{_MARK}' $?" for command in commands]
    if block.language != "console" and len(commands) == 1 and commands[0].text == block.text:
        steps = [f"(set -e\n{block.text}\n)\nprintf '{_MARK}%s{_MARK}' $?"]
    done = _run(["bash", "-c", "\n".join(steps)], folder)
    parts = done.stdout.split(_MARK)
    wrong = []
    for number, command in enumerate(commands):
        output, code = parts[2 * number : 2 * number + 2] if len(parts) > 2 * number + 1 else (parts[-1], "none")
        where = f"line {block.line}: $ {command.text}"
        if not command.ends_with(code):
            expected = "another code than 0" if command.code is None else command.code
            wrong.append(f"{where}\nexit {code}, not {expected}\n{output}")
        elif not matches(command.output, output):
            wrong.append(f"{where}\nshows\n{command.output}\nbut prints\n{output}")
    return wrong


def _run(words: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    # The copy is the checkout that the page speaks of: forge comes from it, and its projects are the shipped ones.
    home = folder.parent / f"{folder.name}-home"
    home.mkdir(exist_ok=True)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("FORGE_", "XDG_", "PYTEST"))}
    binaries = os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", "")])
    return subprocess.run(
        words,
        cwd=folder,
        env={
            **kept,
            "PATH": binaries,
            "HOME": str(home),
            "PYTHONPATH": str(folder),
            "NO_COLOR": "1",
            "COLUMNS": "120",
            "EDITOR": "true",
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=LONGEST,
    )


def scratch(folder: Path) -> Path:
    """A copy of the checkout, without what is not shown in it, to run a page in."""
    copied = Path(shutil.copytree(ROOT, folder / "forge", ignore=_left_out, symlinks=True))
    with open(copied / "projects" / "pydoc" / "src" / "pydoc_text" / "modules.py", "a", encoding="utf-8") as modules:
        modules.write(f"\nMODULES = MODULES[::{PART_OF_PYDOC}]\n")
    return copied


def _left_out(folder: str, names: list[str]) -> set[str]:
    made = {name for name in names if name.endswith(("__pycache__", "_cache", ".egg-info", "node_modules"))}
    return made | (LEFT_OUT & set(names) if Path(folder) == ROOT else set())
