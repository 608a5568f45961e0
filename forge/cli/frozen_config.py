"""A config for other processes: what is wrong with it is told before one starts, and what they read is gone when they end."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from forge.api.config import ConfigHandle
    from forge.cli.output import Output
    from forge.cli.session import Context

__all__ = ["frozen", "is_sound", "run_on_config"]

_UNSOUND = 2


@contextmanager
def frozen(config: ConfigHandle, part: str | None = None) -> Iterator[str]:
    """A private folder that has the frozen config, or one part of it, until the end of the block."""
    from forge.base.files import temporary_folder

    with temporary_folder() as folder:
        config.freeze(folder, part)
        yield folder


def is_sound(output: Output, config: ConfigHandle, parts: Collection[str] = ()) -> bool:
    """Whether a process can begin with the config, or with these parts of it; what is wrong is printed."""
    findings = [finding for finding in config.check() if finding.severity == "error"]
    if parts:
        findings = [finding for finding in findings if finding.key.partition(".")[0].partition("[")[0] in parts]
    for finding in findings:
        output.note(str(finding))
    if findings:
        output.note(f"{config.name}: nothing was started, correct the {len(findings)} above first")
    return not findings


def run_on_config(
    context: Context,
    config: ConfigHandle,
    module: str,
    words: Callable[[str], Sequence[str]],
    parts: Collection[str] = (),
) -> int:
    """Run a module on the frozen config, with the ``words`` that its folder gets; only these parts of it have to be sound."""
    from forge.launch.process import run_module

    if not is_sound(context.output, config, parts):
        return _UNSOUND
    with frozen(config) as folder:
        context.output.flush()
        environment = {"FORGE_DEBUG": "1"} if context.session.debug else None
        return run_module(module, words(folder), environment=environment)
