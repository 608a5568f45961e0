"""``python -m forge`` is the command ``forge``."""

from __future__ import annotations

from forge.cli.main import entry

if __name__ == "__main__":
    entry()
