"""``forge download``: a model or a data set of the Hugging Face Hub into a folder."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from forge.base.errors import UsageError
from forge.cli.options import Option, Positional
from forge.cli.registry import Verb

if TYPE_CHECKING:
    from forge.cli.session import Context

__all__ = ["VERB"]

_LISTS: Final = ("include", "exclude")


def _run(context: Context) -> int:
    from forge.launch.process import run_module  # `forge --help` downloads nothing

    repo, *folders = context.words
    options = context.options
    if folders and options.local_dir is not None:
        raise UsageError("DST and --local-dir name the same thing", hint="leave one of them out")
    target = folders[0] if folders else options.local_dir or repo.rpartition("/")[2]
    if not target:
        raise UsageError(f"{repo!r} is no repository", hint="write it like mistralai/Mistral-7B-v0.1")
    if os.path.lexists(target):
        raise UsageError(f"{target} is there already", hint="name a new folder, or move that one away")
    words = [f"--type={options.type or 'model'}"]
    words += [f"--revision={options.revision}"] if options.revision else []
    for name in _LISTS:
        words += [f"--{name}={one}" for one in (getattr(options, name) or "").split(",") if one]
    context.output.flush()
    return run_module("forge.ml.convert", ["download", *words, "--", repo, target])


VERB = Verb(
    name="download",
    summary="get a model or a data set from the Hugging Face Hub",
    help="""\
Download the files of a repository into the new folder DST (by default the last part of REPO's name). A connection that
breaks is taken up where it stopped; when the download itself was stopped, the same line gets only the files that are still missing. Every file is checked against the hash that the Hub has for it, and DST appears when all
of them are right. A model that is not open to everybody needs HF_TOKEN, or `hf auth login`; HF_ENDPOINT names another Hub.

Patterns are like '*.safetensors'; several stand with commas between them. Where there are pickled weights beside safetensors, leave
them out: --exclude '*.bin,*.pth'.

  forge download mistralai/Mistral-7B-v0.1 mistral_7b --exclude '*.bin'
  forge download meta-llama/Llama-3.2-1B-Instruct --exclude 'original*'
  forge download allenai/c4 --type dataset --include 'en/c4-train.00000*' --revision main
""",
    run=_run,
    options=(
        Option(("--include",), "only files like these", "PATTERNS"),
        Option(("--exclude",), "no files like these", "PATTERNS"),
        Option(("--revision",), "a branch, a tag or a commit; else main", "REVISION"),
        Option(("--type",), "what the repository holds; else model", "TYPE", choices=("model", "dataset")),
        Option(("--local-dir",), "another way to name DST", "FOLDER", completes="file"),
    ),
    positionals=(
        Positional("REPO", "a repository, like mistralai/Mistral-7B-v0.1"),
        Positional("DST", "the folder to make", least=0, completes="file"),
    ),
)
