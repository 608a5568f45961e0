"""``python -m forge.ml.data show|stats FOLDER``, or ``cache``: what ``forge data`` starts, on a frozen config or on what is kept."""

from __future__ import annotations

import argparse
import json
import os
import sys
import traceback
from shutil import get_terminal_size
from typing import TYPE_CHECKING, Any, Final

from forge.base.ending import run_program
from forge.base.errors import ForgeError
from forge.base.files import write_atomic

if TYPE_CHECKING:
    from collections.abc import Sequence

    from forge.ml.data.sets import RowSet

__all__ = ["main"]

_WIDTH: Final = 100  # where there is no terminal


def main(arguments: Sequence[str]) -> int:
    """Do what is asked, and return the exit code."""
    given = _parser().parse_intermixed_args(arguments)
    try:
        text = {"show": _show, "stats": _stats, "cache": _cache}[given.what](given)
        if given.output is None:
            sys.stdout.write(text)
            sys.stdout.flush()
        else:
            write_atomic(given.output, text)
    except BrokenPipeError:  # whoever was reading has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except ForgeError as error:
        return _refused(str(error))
    except (ValueError, OSError) as error:
        return _refused("\n  ".join([str(error), *getattr(error, "__notes__", ())]))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m forge.ml.data", allow_abbrev=False)
    parser.add_argument("what", choices=("show", "stats", "cache"))
    parser.add_argument("folder", nargs="?")
    parser.add_argument("-n", dest="count", type=int, default=3)
    parser.add_argument("--index", type=int, default=0)
    parser.add_argument("--split")
    parser.add_argument("--format", choices=("text", "json", "svg", "raw"), default="text")
    parser.add_argument("--output")
    for flag in ("--all", "--colour", "--prune"):
        parser.add_argument(flag, action="store_true")
    return parser


def _show(given: argparse.Namespace) -> str:
    from forge.ml.data.sets import TRAIN, remarks
    from forge.ml.data.show import drawn_example, example_json, examples, legend

    tokenizer, sets = _prepared(given, given.split or TRAIN)
    shown = [each for found in sets for each in examples(found, tokenizer, given.index, given.count)]
    if given.format == "json":
        return _json([example_json(each, tokenizer) for each in shown])
    if given.format == "raw":
        return "".join(json.dumps(each.row, ensure_ascii=False, default=str) + "\n" for each in shown)
    drawn = [
        drawn_example(each, tokenizer, width=_width(given), colour=given.colour, whole=given.all) for each in shown
    ]
    remarked = [f"{found.name}: {line}" for found in sets for line in remarks(found, tokenizer)]
    return "\n\n".join([legend(colour=given.colour), *drawn, *(["\n".join(remarked)] if remarked else [])]) + "\n"


def _stats(given: argparse.Namespace) -> str:
    from forge.ml.data.stats import drawn_figures, figures_json, figures_of, figures_svg

    tokenizer, sets = _prepared(given, given.split)
    figures = [figures_of(found, tokenizer) for found in sets]
    if given.format == "json":
        return _json([figures_json(each) for each in figures])
    if given.format == "svg":
        return figures_svg(figures)
    return "\n\n".join(drawn_figures(each, width=_width(given), colour=given.colour) for each in figures) + "\n"


def _cache(given: argparse.Namespace) -> str:
    from dataclasses import asdict
    from datetime import datetime, timezone

    from forge.base.origin import shown_path
    from forge.base.sizes import shown_size
    from forge.ml.data.entries import DAYS, LARGEST, cache_entries, cache_folder, prune

    gone = prune() if given.prune else ()
    found = cache_entries()
    if given.format == "json":
        return _json(
            {
                "folder": cache_folder(),
                "removed": [asdict(one) for one in gone],
                "entries": [asdict(one) for one in found],
            }
        )

    def total(several: Sequence[Any]) -> str:
        count = f"{len(several):,} entr{'y' if len(several) == 1 else 'ies'}"
        return f"{count}, {shown_size(sum(one.size for one in several))}"

    limits = f"kept for {DAYS} days after the last use, and up to {shown_size(LARGEST)}"
    lines = [f"{shown_path(cache_folder())}: {total(found)}; {limits}"]
    if given.prune:
        lines.append(f"removed: {total(gone)}")
    for one in found:
        used = datetime.fromtimestamp(one.used, timezone.utc).strftime("%Y-%m-%d %H:%M")
        lines.append(f"{one.key}  {shown_size(one.size):>9}  {'in use' if one.in_use else used}")
    return "\n".join(lines) + "\n"


def _prepared(given: argparse.Namespace, wanted: str | None) -> tuple[Any, list[RowSet]]:
    from forge.build.frozen import thaw
    from forge.ml.data.sets import chosen_sets, prepared_sets

    frozen = thaw(given.folder)
    corpus, tokenizer = frozen.build("dataset"), frozen.build("tokenizer")
    telling = sys.stderr.isatty()
    sets = prepared_sets(corpus, tokenizer, progress=_tell if telling else None)
    if telling:
        sys.stderr.write("\r\x1b[K")
    return tokenizer, chosen_sets(sets, wanted)


def _tell(what: str, rows: int) -> None:
    sys.stderr.write(f"\r\x1b[Kpreparing {what}: {rows:,} rows")
    sys.stderr.flush()


def _width(given: argparse.Namespace) -> int:
    return get_terminal_size((_WIDTH, 24)).columns if given.output is None and sys.stdout.isatty() else _WIDTH


def _json(found: Any) -> str:
    return json.dumps(found, indent=2, ensure_ascii=False, default=str) + "\n"


def _refused(text: str) -> int:
    if os.environ.get("FORGE_DEBUG"):
        traceback.print_exc()
    sys.stderr.write(f"error: {text}\n")
    return 2


if __name__ == "__main__":
    run_program(main)
