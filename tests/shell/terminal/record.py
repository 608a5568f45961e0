"""Records the walk of docs/images/shell.svg from a real shell: ``python tests/shell/terminal/record.py [FILE]``."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from picture import draw, frame_of
from screens import ENTER, TAB, Terminal

if TYPE_CHECKING:
    from picture import Frame

ROOT = Path(__file__).resolve().parents[3]
COLUMNS, LINES = 96, 27
_KEY, _LOOK, _READ = 0.07, 1.2, 2.6


class Recorder:
    """A terminal whose screens are kept as it is used."""

    def __init__(self, terminal: Terminal) -> None:
        self.terminal = terminal
        self.frames: list[Frame] = []

    def keep(self, seconds: float) -> None:
        """Keep the screen as it is now."""
        self.frames.append(frame_of(self.terminal, seconds))

    def type(self, text: str) -> None:
        """Type as a person does, and keep the screen after each key."""
        for letter in text:
            self.terminal.type(letter)
            self.keep(_KEY)

    def list(self, beginning: str) -> None:
        """Wait for a list of completions whose first line begins so."""
        self.terminal.until(lambda seen: bool(seen.listed) and seen.listed[0].startswith(beginning))
        self.keep(_LOOK)

    def enter(self, seconds: float = _READ) -> None:
        """Run the line, and keep what it printed."""
        self.terminal.send(ENTER)
        self.terminal.prompt().until("✓")
        self.keep(seconds)

    def run(self, line: str, seconds: float = _READ) -> None:
        """Type a line and run it."""
        self.type(line)
        self.enter(seconds)


def walk(terminal: Terminal) -> list[Frame]:
    """Choose a config with two keys, look, change, see what that does, ask why, be told of a mistake, and undo."""
    shown = Recorder(terminal)
    terminal.prompt().until("✓")
    shown.keep(_LOOK)
    shown.type("config pack")
    shown.list("llama2_7b/1gpu_packed")
    terminal.send(TAB)
    terminal.until("config llama2_7b/1gpu_packed")
    shown.keep(_LOOK)
    terminal.send(ENTER)
    terminal.until(lambda seen: not seen.listed)
    shown.enter(_LOOK)
    shown.run("graph --focus optimizer")
    shown.type("set optimizer=adam")
    shown.list("adamw")
    terminal.send(TAB)
    terminal.until("set optimizer=adamw")
    shown.keep(_LOOK)
    terminal.send(ENTER)
    terminal.until(lambda seen: not seen.listed)
    shown.type(" optimizer.l")
    shown.list("lr=")
    terminal.send(TAB)
    terminal.until("optimizer.lr=")
    shown.type("1e-5")
    shown.enter(_LOOK)
    shown.run("diff")
    shown.run("why optimizer.lr")
    shown.run("set trainer.max_stps=20", _LOOK + _READ)
    shown.run("undo")
    return shown.frames


def record(environment: dict[str, str]) -> str:
    """The picture of the walk, taken from a shell in the Samantha project."""
    command = [sys.executable, "-m", "forge", "-p", "projects/samantha", "-i"]
    with Terminal(command, ROOT, environment, columns=COLUMNS, lines=LINES) as terminal:
        return draw(walk(terminal), "forge -p projects/samantha -i", COLUMNS, LINES)


def main() -> None:
    """Record as a user who has nothing but the defaults."""
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "images" / "shell.svg"
    with tempfile.TemporaryDirectory() as folder:
        places = {f"FORGE_{kind}_HOME": os.path.join(folder, kind) for kind in ("CACHE", "CONFIG", "DATA")}
        user = {"HOME": folder, "PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
        picture = record({**places, **user, "TERM": "xterm-256color", "LANG": "C.UTF-8"})
    target.write_text(picture, encoding="utf-8")


if __name__ == "__main__":
    main()
