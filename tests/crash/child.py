"""The program that is killed: it does one thing to the checkpoints of a folder, between two marks that a trace shows.

python child.py ROOT ACTION FOLDER [SIZE]
"""

import contextlib
import fcntl  # noqa: F401 - what forge imports late is imported here, before the mark: no call of the interpreter's own is meant
import filecmp  # noqa: F401
import json
import os
import shutil  # noqa: F401
import socket  # noqa: F401
import sys
import time

sys.path.insert(0, sys.argv[1])

from forge.base.errors import CheckpointError
from forge.ml.checkpoint.link import link
from forge.ml.checkpoint.store import Store
from forge.ml.checkpoint.tensors import Raw


def content(step: int, size: int) -> dict[str, bytes | dict[str, Raw]]:
    """The files of a checkpoint of this step: different ones for different steps, the same each time."""
    weights = (f"weights of step {step} ".encode() * (size // 8))[:size]
    moments = (f"moments of step {step} ".encode() * (size // 8))[:size]
    return {
        "config.json": f'{{"step": {step}}}'.encode(),
        "tokenizer.json": b"{}",
        "model.safetensors": {"w": Raw("U8", (size,), weights), "b": Raw("U8", (0,), b"")},
        "state/optimizer.safetensors": {"m": Raw("U8", (size // 4, 4), moments)},
        "state/state.json": f'{{"format": 1, "parts": {{"step": {step}}}}}'.encode(),
    }


def save(store: Store, step: int, size: int) -> None:
    """Save a checkpoint of this step."""
    with store.begin(step, size) as stage:
        for name, value in content(step, size).items():
            if isinstance(value, bytes):
                stage.write_bytes(name, value)
            else:
                stage.write_tensors(name, value)
        stage.commit({"loss": 1 / step})


def act(action: str, store: Store, size: int) -> None:
    """Do what the test is about."""
    if action == "save":
        save(store, 2, size)
    elif action == "prune":
        store.prune(2)
    elif action == "link":
        link(store, os.path.join(store.folder, "checkpoint-2"), force=True)
    elif action == "clean":
        store.claim()


def mark(name: str) -> None:
    """Something that a trace shows and that does nothing."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(f"/forge-test-{name}")


def main() -> int:
    """Report an error of forge's own as JSON and exit code 3; anything else is a traceback."""
    action, folder = sys.argv[2:4]
    store = Store(os.path.join(folder, "checkpoints"))
    mark("begin")
    began = time.monotonic()
    try:
        act(action, store, int(sys.argv[4]) if len(sys.argv) > 4 else 1000)
    except CheckpointError as error:
        mark("end")
        report = {"error": str(error), "seconds": time.monotonic() - began}
        sys.stdout.write(json.dumps(report))
        return 3
    mark("end")
    return 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)
