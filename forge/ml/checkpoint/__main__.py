"""``python -m forge.ml.checkpoint ls|verify|link|rm``: what `forge ckpt` runs. Looks at files only; torch is not imported."""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import TYPE_CHECKING, Any

from forge.base.ending import run_program
from forge.base.errors import ForgeError, UsageError
from forge.base.origin import shown_path
from forge.base.sizes import shown_size
from forge.ml.checkpoint.link import link
from forge.ml.checkpoint.manifest import MANIFEST
from forge.ml.checkpoint.place import is_checkpoint, store_of
from forge.ml.checkpoint.store import Checkpoint, Store
from forge.ml.checkpoint.verify import verify

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str]) -> int:
    """Run one action; 0: done and whole, 1: a checkpoint is not whole, 2: the user's mistake."""
    options = _parser().parse_intermixed_args(arguments)
    try:
        return {"ls": _list, "verify": _verify, "link": _link, "rm": _remove}[options.action](options)
    except ForgeError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="forge ckpt", allow_abbrev=False)
    parser.add_argument("action", choices=("ls", "verify", "link", "rm"))
    parser.add_argument("paths", nargs="*", metavar="PATH")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--force", action="store_true")
    return parser


def _list(options: argparse.Namespace) -> int:
    store = store_of(_one(options))
    found = store.list()
    if options.json:
        _print_json([_data(one) for one in found])
    elif found:
        rows = [("checkpoint", "saved", "size", "score", "", "state"), *map(_row, found)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            _print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    else:
        _print(f"no checkpoints in {shown_path(store.folder)}")
    return 0


def _verify(options: argparse.Namespace) -> int:
    path = _one(options)
    own = is_checkpoint(path) or os.path.isfile(os.path.join(path, MANIFEST))  # also under another name
    paths = [path] if own else [found.path for found in store_of(path).list()]
    problems = {one: verify(one, quick=options.quick) for one in paths}
    if options.json:
        _print_json([{"path": one, "valid": not found, "problems": found} for one, found in problems.items()])
    elif not paths:
        _print(f"no checkpoints in {shown_path(path)}")
    for one, found in problems.items() if not options.json else ():
        _print(f"{shown_path(one)}: {'whole' if not found else ''}".rstrip())
        for problem in found:
            _print(f"  {problem}")
    return 1 if any(problems.values()) else 0


def _link(options: argparse.Namespace) -> int:
    path = _one(options)
    store = store_of(path)
    found = link(store, path if is_checkpoint(path) else None, force=options.force)
    root = os.path.dirname(store.folder)
    if options.json:
        _print_json({"folder": root, "linked": found.path})
    else:
        _print(f"{shown_path(root)} now loads as {found.name}")
    return 0


def _remove(options: argparse.Namespace) -> int:
    if not options.paths:
        raise UsageError("name the checkpoints to remove", hint="forge ckpt rm OUTPUT/checkpoints/checkpoint-100")
    for path in options.paths:
        if not is_checkpoint(path):
            raise UsageError(f"{path} is not a checkpoint", hint="`forge ckpt ls` lists them")
    stores = {os.path.dirname(os.path.abspath(path)) for path in options.paths}
    if len(stores) > 1:
        raise UsageError("these checkpoints are of different runs", hint="remove those of one run at a time")
    paths = [os.path.abspath(path) for path in options.paths]
    Store(stores.pop()).remove(paths, force=options.force)
    if options.json:
        _print_json({"removed": paths})
    else:
        _print("\n".join(f"removed {shown_path(path)}" for path in paths))
    return 0


def _one(options: argparse.Namespace) -> str:
    if len(options.paths) > 1:
        raise UsageError(f"ckpt {options.action} takes one folder, not {len(options.paths)}")
    return str(options.paths[0]) if options.paths else os.curdir


def _row(found: Checkpoint) -> tuple[str, ...]:
    marks = [name for name in ("newest", "best", "linked") if getattr(found, name)]
    score = f"{found.score.name} {found.score.value:.4f}" if found.score else ""
    size = shown_size(found.size) if found.manifest else ""
    return (found.name, found.saved[:19].replace("T", " "), size, score, ", ".join(marks), found.reason or "valid")


def _data(found: Checkpoint) -> dict[str, Any]:
    score = found.score
    return {
        "path": found.path,
        "step": found.step,
        "saved": found.saved,
        "size": found.size,
        "score": None if score is None else {"name": score.name, "value": score.value},
        "facts": found.facts,
        "valid": found.valid,
        "reason": found.reason,
        "newest": found.newest,
        "best": found.best,
        "linked": found.linked,
    }


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")


def _print_json(value: object) -> None:
    _print(json.dumps(value, indent=2, ensure_ascii=False))


if __name__ == "__main__":
    run_program(main)
