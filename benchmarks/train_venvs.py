"""The virtual environments of the training benchmark: forge's own, one for transformers and TRL, one for torchtune."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from own_venv import ROOT

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["FORGE", "TORCHTUNE", "TRL", "ensure"]

FORGE, TRL, TORCHTUNE = "forge", "trl", "torchtune"
_TORCH = "torch==2.13.0"
_PACKAGES = {
    FORGE: ["-c", str(ROOT / "constraints.txt"), "-e", f"{ROOT}[train]"],
    TRL: ["transformers==5.23.0", "trl==1.16.0", "datasets==5.2.0", "accelerate"],
    TORCHTUNE: ["torchtune==0.6.1", "torchao==0.13.0"],
}


def ensure(folder: Path, name: str) -> str:
    """The interpreter of one environment, which is made when it is not there or something else belongs into it."""
    home = folder / f".venv-{name}"
    python = home / "bin" / "python"
    made_of = home / "made-of.txt"
    wanted = "\n".join([sys.version, _TORCH, *_PACKAGES[name]])
    if made_of.is_file() and made_of.read_text() == wanted:
        return str(python)
    print(f"making {home}", file=sys.stderr)
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(home)], check=True)
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    for packages in ([_TORCH], _PACKAGES[name]):
        subprocess.run([*install, *packages], check=True)
    made_of.write_text(wanted)
    return str(python)
