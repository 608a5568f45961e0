"""``python -m forge.ml.convert convert|export|download ...``: what these verbs of forge run."""

from __future__ import annotations

import argparse
import os
import re
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from forge.base.collector import collector_paused
from forge.base.ending import run_program
from forge.base.errors import ForgeError, ModelError, UsageError
from forge.base.origin import shown_path
from forge.base.sizes import shown_size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from forge.ml.convert.convert import Converted
    from forge.ml.convert.source import SourceModel

__all__ = ["main"]

_SHARD: Final = "5GB"
_UNITS: Final = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


def main(arguments: Sequence[str]) -> int:
    """Do one of them; 0: done, 2: it could not be."""
    options = _parser().parse_args(arguments)
    try:
        return {"convert": _convert, "export": _export, "download": _download}[options.action](options)
    except (ForgeError, ValueError, OSError) as error:
        if os.environ.get("FORGE_DEBUG"):
            raise
        _say(f"error: {error}")
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="forge", allow_abbrev=False)
    actions = parser.add_subparsers(dest="action", required=True)
    convert = actions.add_parser("convert", allow_abbrev=False)
    convert.add_argument("source")
    convert.add_argument("target")
    for name in ("--template", "--add-tokens", "--dtype", "--to"):
        convert.add_argument(name)
    convert.add_argument("--max-length", type=int)
    convert.add_argument("--max-shard-size", default=_SHARD)
    for name in ("--dry-run", "--check"):
        convert.add_argument(name, action="store_true")
    export = actions.add_parser("export", allow_abbrev=False)
    export.add_argument("run")
    export.add_argument("target")
    for name in ("--checkpoint", "--base", "--template", "--dtype"):
        export.add_argument(name)
    export.add_argument("--max-shard-size", default=_SHARD)
    export.add_argument("--best", action="store_true")
    download = actions.add_parser("download", allow_abbrev=False)
    download.add_argument("repo")
    download.add_argument("target")
    download.add_argument("--revision")
    download.add_argument("--type", default="model")
    for name in ("--include", "--exclude"):
        download.add_argument(name, action="append", default=[])
    return parser


def _convert(options: argparse.Namespace) -> int:
    with collector_paused():  # modules stay
        from forge.ml.convert.convert import Changes, convert_folder

    _quiet()
    changes = Changes(
        template=options.template,
        add_tokens=options.add_tokens,
        dtype=options.dtype,
        to=options.to,
        max_length=options.max_length,
        max_shard_size=_bytes(options.max_shard_size),
    )
    with _bar() as begin:

        def announce(source: SourceModel, made: Converted) -> Callable[[int], None] | None:
            _print(_described(source, made, changes))
            return None if options.dry_run else begin(made.size)

        convert_folder(options.source, options.target, changes, begin=announce, check=_check if options.check else None)
    _print("nothing was written" if options.dry_run else f"written: {shown_path(options.target)}")
    return 0


def _described(source: SourceModel, made: Converted, changes: Any) -> str:
    before, after = source.config.model_type, made.plain.get("model_type", source.config.model_type)
    lines = [
        f"{shown_path(source.folder)}: {before} ({source.kind}), {len(source.tensors):,} tensors",
        f"becomes: {after}, {made.plain['dtype']}, {_amount(made, changes.max_shard_size)}",
    ]
    lines += [f"note: {remark}" for remark in source.remarks]
    lines += [f"token {one.row}: {one.token}, which begins as {_began(one.like)}" for one in made.new]
    if made.tokenizer is not None and made.tokenizer.chat_template is not None:
        lines.append(_stop(made.tokenizer))
    return "\n".join(lines)


def _amount(made: Converted, limit: int) -> str:
    from forge.ml.convert.shards import planned_shards

    count = len(planned_shards(made.tensors, limit))
    return f"{shown_size(made.size)} in {count} {'file' if count == 1 else 'files'}"


def _bytes(text: str) -> int:
    """A size as people write it: 5GB, 500MB, or the number of bytes."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?) *([kKMGT]?)B?", text.strip())
    size = int(float(found[1]) * _UNITS[found[2].upper()]) if found else 0
    if size < 1:
        raise UsageError(f"{text!r} is no size of a file", hint="write it like 5GB or 500MB")
    return size


def _stop(tokenizer: Any) -> str:
    from forge.ml.convert.settings import turn_end

    end = turn_end(tokenizer)
    if end.token is not None:
        return f"generation stops at {end.token}"
    if not end.text:
        return "note: the chat template ends a turn with nothing: a model cannot learn where to stop"
    return f"note: the chat template ends a turn with {end.text!r}, which is no token: add it with --add-tokens"


def _began(like: tuple[int, ...] | None) -> str:
    if like is None:
        return "the mean of all"
    return f"the mean of {', '.join(map(str, like))}" if len(like) > 1 else f"token {like[0]}" if like else "zero"


def _check(source: SourceModel, made: Converted, folder: str) -> None:
    from forge.ml.convert.compare import compare

    _say("comparing the logits of both")
    found = compare(source, folder, made.plain["dtype"], made.known or None)
    _print(f"check: {found}")
    if not found.small:
        raise ModelError("the new model computes something else, and was not kept", hint=str(found))


def _export(options: argparse.Namespace) -> int:
    with collector_paused():  # modules stay
        from forge.ml.convert.convert import write_model
        from forge.ml.convert.export import chosen, exported
        from forge.ml.convert.new_model import refuse_present

    _quiet()
    refuse_present(options.target)
    limit = _bytes(options.max_shard_size)
    what = chosen(options.run, checkpoint=options.checkpoint, best=options.best, say=_say)
    name = os.path.basename(os.path.normpath(options.target))
    settings = {"base": options.base, "template": options.template, "dtype": options.dtype}
    with exported(what, name=name, **settings) as made, _bar() as begin:
        _print(
            f"{shown_path(what.folder)}: {made.plain['architectures'][0]}, {made.plain['dtype']}, {_amount(made, limit)}"
        )
        if made.tokenizer is not None and made.tokenizer.chat_template is not None:
            _print(_stop(made.tokenizer))
        write_model(options.target, made, limit, begin(made.size))
    _print(f"written: {shown_path(options.target)}")
    return 0


def _download(options: argparse.Namespace) -> int:
    from forge.ml.convert.download import download

    if not sys.stderr.isatty():
        from huggingface_hub.utils import disable_progress_bars

        disable_progress_bars()
    wanted = {"include": options.include, "exclude": options.exclude}
    commit = download(options.repo, options.target, kind=options.type, revision=options.revision, **wanted, say=_say)
    _print(f"written: {shown_path(options.target)} ({options.repo} at {commit})")
    return 0


@contextmanager
def _bar() -> Iterator[Callable[[int], Callable[[int], None]]]:
    """A bar in a terminal, and nothing elsewhere; it begins when the number of bytes is known."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    from forge.ml.line_console import LineConsole

    console = LineConsole()
    columns = (TextColumn("writing"), BarColumn(bar_width=30), DownloadColumn(), TransferSpeedColumn())
    bar = Progress(*columns, TimeRemainingColumn(compact=True), console=console, disable=not console.is_terminal)

    def begin(total: int) -> Callable[[int], None]:
        task = bar.add_task("writing", total=total)
        bar.start()
        return lambda size: bar.advance(task, size)

    try:
        yield begin
    finally:
        bar.stop()


def _quiet() -> None:
    """What transformers would say of each file that it reads is of no use here."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    run_program(main)
