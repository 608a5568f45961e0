"""``forge build``: build a part of a config and print what came out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forge.base.errors import ForgeError, UsageError
from forge.cli.options import EDIT, JSON, OUTPUT, TARGET, Positional
from forge.cli.registry import Verb

if TYPE_CHECKING:
    from forge.cli.session import Context

__all__ = ["VERB"]


def _run(context: Context) -> int:
    target = _target(context) or context.config.main
    if context.session.workbench is None:
        return _build_here(context, target)
    from forge.build.frozen import secret_of  # only a shell has a workbench

    if secret_of(context.config.graph_of(target)) is not None:
        return _build_apart(context, target)
    return _build_there(context, target)


def _target(context: Context) -> str | None:
    target: str | None = context.options.target
    if target is not None and context.words:
        raise UsageError(f"build is given two parts, {context.words[0]} and {target}", hint="name one of them")
    return context.words[0] if context.words else target


def _build_here(context: Context, target: str | None) -> int:
    """Build in this process, which is there for nothing else."""
    from forge.build.outcome import (
        built_text,
        describe_built,
        failure_text,
        secret_texts,
    )  # `forge --help` builds nothing

    config = context.config
    key = target or config.name
    secrets = secret_texts(config.graph_of(target).root)
    try:
        built = config.build(target)
    except (ForgeError, KeyboardInterrupt, MemoryError):
        raise
    except Exception as error:  # the config's own objects may raise anything: a failed job, not a bug of forge
        if context.session.debug:
            raise
        context.output.note(f"error: {failure_text(key, error, secrets)}")
        return 1
    found = describe_built(key, built, secrets)
    if context.options.json:
        context.emit_json(found, config.name)
    else:
        context.emit(built_text(found), config.name, ".txt")
    return 0


def _build_there(context: Context, target: str | None) -> int:
    """Build in the process that a shell keeps for it."""
    from forge.cli.workbench import ask, show_answer  # only a shell has a workbench

    key = target or context.config.name
    arguments = {"key": key, "as_json": context.options.json, "debug": context.session.debug}
    return show_answer(context, ask(context, "build", arguments, part=target))


def _build_apart(context: Context, target: str | None) -> int:
    """Build by the command line, in a process for this alone: what gets a secret is never written to disk for another."""
    from forge.launch.process import run_module  # only a shell comes here

    config, options = context.config, context.options
    words = ["-p", config.project.folder, "-t", config.name, *(["--debug"] if context.session.debug else []), "build"]
    words += [f"--target={target}"] if target else []
    words += ["--json"] if options.json else []
    words += ["--edit"] if options.edit else []
    words += [f"--output={options.output}"] if options.output is not None else []
    context.output.flush()
    return run_module("forge", [*words, *(one if isinstance(one, str) else one[0] for one in config.overrides)])


VERB = Verb(
    name="build",
    summary="build a part of the config and print what came out",
    help="""\
Build the config's main object, or the part that NODE or --target names, and print its type, its repr, and for a model the
number of its parameters. This imports what the config names, so the code of a project has to be trusted first
(`forge trust`). The shell builds in a process that keeps torch from one build to the next.

  forge build model
  forge build optimizer optimizer=adafactor
  forge build --target model --json
""",
    run=_run,
    options=(TARGET, JSON, OUTPUT, EDIT),
    positionals=(Positional("NODE", "the part of the config to build, as a dotted path", least=0, completes="target"),),
    takes_config=True,
)
