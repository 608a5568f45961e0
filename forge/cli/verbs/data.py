"""``forge data``: the rows of a config as they reach the model, and their figures."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from forge.base.errors import UsageError
from forge.cli.options import JSON, OUTPUT, Option, Positional, was_given
from forge.cli.registry import Verb

if TYPE_CHECKING:
    from forge.cli.session import Context

__all__ = ["VERB"]

_NEEDED = ("dataset", "tokenizer")


def _run(context: Context) -> int:
    from forge.cli.frozen_config import run_on_config  # `forge --help` starts nothing
    from forge.launch.process import run_module

    what = context.words[0]
    if what == "cache":
        return run_module("forge.ml.data", ["cache", *_cache_arguments(context)])
    if context.options.prune:
        raise UsageError(f"--prune is for `forge data cache`, not for `forge data {what}`", hint="leave it out")
    arguments = _arguments(context, what)
    _check_config(context)
    return run_on_config(context, context.config, "forge.ml.data", lambda folder: [what, folder, *arguments], _NEEDED)


def _cache_arguments(context: Context) -> list[str]:
    options = context.options
    used = [flag for flag, name in _NOT_CACHE.items() if was_given(getattr(options, name))]
    if used:
        raise UsageError(f"{used[0]} is not for `forge data cache`", hint="it takes --prune and --json")
    context.output.flush()
    return [*(["--prune"] if options.prune else []), *(["--format", "json"] if options.json else [])]


def _check_config(context: Context) -> None:
    config = context.config
    missing = [key for key in _NEEDED if key not in config.composed.tree]
    if missing:
        raise UsageError(
            f"{config.name} has no {' and no '.join(missing)}",
            hint=f"add it to the config's defaults: '- /{missing[0]}: ...'; `forge ls` lists the choices",
        )


def _arguments(context: Context, what: str) -> list[str]:
    """The options as the module takes them; those that make no sense together are refused."""
    options = context.options
    form = _form(context, what)
    given = ["--format", form]
    if options.count is not None and options.count < 1:
        raise UsageError(f"-n cannot be {options.count}", hint="write a whole number from 1 on")
    for name, flag in (("count", "-n"), ("index", "--index"), ("split", "--split"), ("output", "--output")):
        value = getattr(options, name)
        if value is not None:
            given += [flag, os.path.abspath(value) if name == "output" else str(value)]
    if options.all:
        given.append("--all")
    if context.output.colour and options.output is None and form == "text":
        given.append("--colour")
    return given


def _form(context: Context, what: str) -> str:
    options = context.options
    if what == "stats":
        used = [flag for flag, given in _ONLY_SHOW.items() if was_given(getattr(options, given))]
        if used:
            raise UsageError(f"{used[0]} is for `forge data show`", hint="`forge data stats` looks at all rows")
    elif options.format == "svg":
        raise UsageError("`forge data show` makes no picture", hint="--format svg is for `forge data stats`")
    if options.json:
        return "json"
    return "raw" if options.raw else options.format


_ONLY_SHOW = {"-n": "count", "--index": "index", "--raw": "raw", "--all": "all"}
_NOT_CACHE = {**_ONLY_SHOW, "--split": "split", "--output": "output"}

VERB = Verb(
    name="data",
    summary="look at the rows of a config as they reach the model, or at their figures",
    help="""\
show prints rows and beside each the tokens that the model gets of it: what is learned in green, what is only context
dimmed (without colours, what is learned stands in brackets), and what was left out and why. stats prints how many rows
are used, how long they are, how much of them is learned, how well they fill the sequences, and a histogram.

The data is prepared as for training and kept for it, so the first look at a dataset takes as long as its preparation. cache
lists what is kept. An entry goes when a new one comes and it has not been used for 30 days, or when all are more than 50 GB and
others were used since; --prune does so now. What a process is using stays.

  forge -t chat/lora data show -M MODEL_FOLDER
  forge -p projects/pydoc -t pretrain/tiny data show -n 1 --index 17 --split held_out
  forge -t pretrain/tiny data stats
  forge -t pretrain/tiny data stats --format svg -o lengths.svg
  forge data cache --prune
""",
    run=_run,
    options=(
        Option(("-n", "--count"), "show this many rows (3 without it)", "N", type=int),
        Option(("--index",), "begin with this row; the first is row 0", "ROW", type=int),
        Option(("--split",), "train, held_out, or the name of a set; stats shows all without it", "NAME"),
        Option(("--raw",), "print only the rows as they are in the data, one a line as JSON"),
        Option(("--all",), "show long rows whole"),
        Option(("--prune",), "remove from the cache what is old or too much"),
        Option(("--format",), "what to make of the figures", "FORM", choices=("text", "svg"), default="text"),
        JSON,
        OUTPUT,
    ),
    positionals=(Positional("WHAT", "show, stats or cache", choices=("show", "stats", "cache")),),
    takes_config=True,
)
