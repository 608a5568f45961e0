"""``forge check``: everything that is wrong with a config, before anything runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forge.base.errors import ForgeError, UsageError
from forge.cli.options import EDIT, JSON, OUTPUT, RECURSIVE, Option
from forge.cli.registry import VERBS, Verb
from forge.cli.verbs.ls import projects_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from forge.api.config import ConfigHandle
    from forge.cli.session import Context
    from forge.graph.check import Finding

__all__ = ["VERB"]

_IMPORTS = 2


def _run(context: Context) -> int:
    depth = _IMPORTS if getattr(context.options, "import") else 1
    hydra = context.options.hydra_compat
    checked = [
        (config, _findings(config, depth, hydra_compat=hydra) + _hidden_flags(config)) for config in _configs(context)
    ]
    if context.options.json:
        found = [_data(config, finding) for config, findings in checked for finding in findings]
        context.emit_json(found, "check")
    else:
        context.emit(_text(checked), "check", ".txt")
    return 2 if any(finding.severity == "error" for _, findings in checked for finding in findings) else 0


def _findings(config: ConfigHandle, depth: int, *, hydra_compat: bool) -> list[Finding]:
    """What is wrong with the config; where it composes, also with the launch it says, and which folders are not there."""
    found = config.check(depth=depth, hydra_compat=hydra_compat)
    if any(finding.code == "config" or finding.key.startswith("launch") for finding in found):
        return found
    from forge.graph.check import in_order  # `forge --help` checks nothing
    from forge.launch.preflight_folders import input_findings

    # A run may make, on the machine where it happens, what another goes on from.
    folders = [finding._replace(severity="warning") for finding in input_findings(config.graph.root, config.main or "")]
    return in_order([*found, *_launch(config), *folders])


def _launch(config: ConfigHandle) -> list[Finding]:
    """What the launch itself says of its values when it is built; nothing else is built for that."""
    from forge.graph.check import Finding
    from forge.graph.node import Call
    from forge.graph.walk import find, walk
    from forge.launch.topology import Topology
    from forge.plan.read import origin_of

    launch = find(config.graph.root, ("launch",))
    calls = [node for node in walk(launch) if isinstance(node, Call)] if launch is not None else []
    if launch is None or not all(call.target.startswith("forge.launch.topology.") for call in calls):
        return []
    try:
        found = config.build("launch")
    except (ValueError, TypeError) as error:
        says, hint = str(error), "`forge why launch.KEY` says where a value comes from"
    except ForgeError:
        return []  # it cannot be told
    else:
        if isinstance(found, Topology):
            return []
        says, hint = "launch is no topology", "choose one: launch=local, ssh, slurm, k8s_pytorchjob ..."
    named = says.partition(" ")[0]
    key = f"launch.{named}" if find(launch, (named,)) is not None else "launch"
    return [Finding(origin_of(launch, named), key, says, hint, "error", "launch")]


def _configs(context: Context) -> Iterator[ConfigHandle]:
    if not context.options.recursive:
        yield context.config
        return
    if context.items:
        raise UsageError(
            "check -r takes no overrides", hint="check one config with them: forge -t CONFIG check key=value"
        )
    for project in projects_of(context):
        for config in project.configs(examine=False):
            yield project.config(config.name)


def _hidden_flags(config: ConfigHandle) -> list[Finding]:
    """The config's own flags that cannot be used with some verb, because that verb has a flag of this name."""
    from forge.graph.check import Finding  # `forge --help` checks nothing

    try:
        arguments = config.arguments
    except ForgeError:
        return []  # the check itself reports why
    found = []
    for argument in arguments:
        for flag in argument.flags:
            verbs = [verb.name for verb in VERBS.all if verb.takes_config and _has(verb, flag)]
            if verbs:
                message = f"{flag} is a flag of forge {', '.join(verbs)} too, and there it means that one"
                found.append(
                    Finding(argument.origin, f"args.{argument.name}", message, "rename it", "warning", "hidden-flag")
                )
    return found


def _has(verb: Verb, flag: str) -> bool:
    return any(flag in option.names for option in verb.options)


def _text(checked: list[tuple[ConfigHandle, list[Finding]]]) -> str:
    lines: list[str] = []
    seen: set[str] = set()
    errors = warnings = 0
    for _, findings in checked:
        for finding in findings:
            text = str(finding)
            if text in seen:  # a file of the library stands behind many configs
                continue
            seen.add(text)
            lines.append(text)
            errors += finding.severity == "error"
            warnings += finding.severity == "warning"
    of = checked[0][0].name if len(checked) == 1 else f"{len(checked)} configs"
    counts = [_count(errors, "error"), _count(warnings, "warning")]
    found = ", ".join(count for count in counts if count) or "nothing wrong"
    return "\n".join([*lines, f"{of}: {found}"])


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'s' if number != 1 else ''}" if number else ""


def _data(config: ConfigHandle, finding: Finding) -> dict[str, object]:
    origin = finding.origin
    return {
        "project": config.project.name,
        "config": config.name,
        "severity": finding.severity,
        "key": finding.key,
        "message": finding.message,
        "hint": finding.hint,
        "code": finding.code,
        "file": origin.file if origin else None,
        "line": origin.line if origin else None,
    }


VERB = Verb(
    name="check",
    summary="find every mistake in a config without running it",
    help="""\
Find misspelt keys, groups, choices and targets, missing and unknown arguments, values of the wrong type, dangling
references, cycles and refused targets, all at once and each with its file and line. Nothing is imported; --import
also imports the targets, in a process of its own, and holds the arguments against the real signatures. Exit code 2
when there are errors.

  forge check
  forge -t pretrain/tiny check optimizer=adafactor
  forge check -r --import
""",
    run=_run,
    options=(
        Option(("-r", "--recursive"), RECURSIVE.help),
        Option(("--import",), "import the targets too, in a process of its own"),
        Option(("--hydra-compat",), "also list what plain Hydra would do differently"),
        JSON,
        OUTPUT,
        EDIT,
    ),
    takes_config=True,
)
