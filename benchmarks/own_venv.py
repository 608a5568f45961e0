"""A virtual environment of the benchmarks' own: the peers in pinned versions beside this checkout of forge."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

__all__ = ["PEERS", "ensure_venv"]

ROOT = Path(__file__).resolve().parents[1]
PEERS = ("hydra-core==1.3.8", "fiddle==0.3.1")


def ensure_venv(folder: Path) -> str:
    """The interpreter of the environment, which is made, or made again, when what belongs into it has changed."""
    python = folder / "bin" / "python"
    made_of = folder / "made-of.txt"
    wanted = "\n".join(
        [sys.version, *PEERS, (ROOT / "pyproject.toml").read_text(), (ROOT / "constraints.txt").read_text()]
    )
    if made_of.is_file() and made_of.read_text() == wanted:
        return str(python)
    print(f"making {folder} with {', '.join(PEERS)}", file=sys.stderr)
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    install += ["-c", str(ROOT / "constraints.txt"), *PEERS, "-e", str(ROOT)]
    done = subprocess.run(install, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"the peers could not be installed:\n{done.stdout}{done.stderr}")
    made_of.write_text(wanted)
    return str(python)
