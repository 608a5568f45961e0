"""The line at the bottom of the prompt: what is worked on, how it is, and which keys help."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from prompt_toolkit.formatted_text import fragment_list_width

if TYPE_CHECKING:
    from prompt_toolkit.formatted_text import StyleAndTextTuples

    from forge.shell.refresh import CheckState

__all__ = ["ToolbarFacts", "toolbar"]


class ToolbarFacts(NamedTuple):
    """What the toolbar shows."""

    project: str
    config: str
    state: CheckState
    pending: int = 0
    jobs: int = 0
    checking: bool = False
    complaint: str = ""
    keys: str = "emacs"
    width: int = 80
    unicode: bool = True


def toolbar(facts: ToolbarFacts) -> StyleAndTextTuples:
    """The toolbar as prompt_toolkit takes it: pairs of a style and a text, cut to the width."""
    left = [("class:toolbar.project", facts.project or "no project")]
    if facts.config:
        left.append(("class:toolbar.config", facts.config))
    if facts.pending:
        left.append(("class:toolbar.pending", f"{facts.pending} pending"))
    left.append(_checked(facts))
    if facts.jobs:
        left.append(("class:toolbar.jobs", _counted(facts.jobs, "job")))
    if facts.complaint:
        left.append(("class:toolbar.complaint", facts.complaint))
    parts = _joined(left, facts)
    if facts.config and fragment_list_width(parts) >= facts.width:
        parts = _joined(left[1:], facts)  # the project stands in the prompt, and what was found nowhere else
    hints = _hints(facts)
    gap = facts.width - fragment_list_width(parts) - len(hints) - 1
    if gap >= 2:  # noqa: PLR2004 - closer than that, the hints would read as a part of the facts
        parts += [("class:toolbar", " " * gap), ("class:toolbar.hint", hints)]
    return _cut(parts, facts.width - 1)


def _joined(facts_shown: list[tuple[str, str]], facts: ToolbarFacts) -> StyleAndTextTuples:
    parts: StyleAndTextTuples = [("class:toolbar", " ")]
    for number, part in enumerate(facts_shown):
        if number:
            parts.append(("class:toolbar.mark", " · " if facts.unicode else " | "))
        parts.append(part)
    return parts


def _checked(facts: ToolbarFacts) -> tuple[str, str]:
    """The state of the check; what was found last is not shown while it may no longer be true."""
    state = facts.state
    if facts.checking:
        return "class:toolbar.checking", "checking..."
    good, bad = ("✓", "✗") if facts.unicode else ("ok", "!")
    if state.status in {"unknown", "none"}:
        return "class:toolbar.checking", "not checked" if state.status == "unknown" else "no config"
    if state.status == "broken":
        return "class:toolbar.errors", f"{bad} does not compose"
    if state.status == "errors":
        return "class:toolbar.errors", f"{bad} {_counted(state.errors, 'error')}"
    if state.warnings:
        return "class:toolbar.ok", f"{good} {_counted(state.warnings, 'warning')}"
    return "class:toolbar.ok", good


def _hints(facts: ToolbarFacts) -> str:
    check = "check: why  " if facts.state.status in {"errors", "broken"} and not facts.checking else ""
    return f"{check}Tab: complete  F4: {facts.keys}  Ctrl-D: leave"


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _cut(parts: StyleAndTextTuples, width: int) -> StyleAndTextTuples:
    """As much as fits on one line."""
    if fragment_list_width(parts) <= width:
        return parts
    found: StyleAndTextTuples = []
    for style, text, *_ in parts:
        shown = text if len(text) <= width else f"{text[: max(0, width - 3)]}..."[: max(0, width)]
        found.append((style, shown))
        width -= len(shown)
    return [part for part in found if part[1]]
