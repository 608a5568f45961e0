"""The colours of the prompt: those that the user's terminal has chosen for itself, so that they read on light and dark.

Neither yellow nor blue, bright ones, or fixed grounds: each of them is hard to read on one of the two; the one grey that is used
lies in the middle. Without colours
(``NO_COLOR``), what matters still differs: bold, underlined or reversed.
"""

from __future__ import annotations

from typing import Final

from prompt_toolkit.styles import Style

__all__ = ["STYLE"]

STYLE: Final = Style.from_dict(
    {
        "prompt": "bold",
        "prompt.config": "nobold ansicyan",
        # The line that is typed.
        "line.verb": "bold ansigreen",
        "line.unknown": "ansired",
        "line.flag": "ansicyan",
        "line.key": "ansimagenta",
        "line.mark": "",
        "line.value": "ansigreen",
        "line.quoted": "ansigreen",
        "line.open": "ansired underline",
        "line.system": "ansicyan",
        "line.comment": "italic #777777",
        "line.break": "bold",
        # The line at the bottom.
        "bottom-toolbar": "noreverse",
        "toolbar.mark": "#777777",
        "toolbar.hint": "#777777",
        "toolbar.project": "bold",
        "toolbar.config": "",
        "toolbar.pending": "ansimagenta",
        "toolbar.ok": "ansigreen",
        "toolbar.errors": "bold ansired",
        "toolbar.checking": "italic",
        "toolbar.jobs": "ansicyan",
        "toolbar.complaint": "ansired",
        # The list of completions. The chosen line is reversed, which every terminal can show.
        "completion-menu": "bg:default fg:default",
        "completion-menu.completion": "",
        "completion-menu.completion.current": "bg:default fg:default reverse",
        "completion-menu.meta.completion": "bg:default fg:default",
        "completion-menu.meta.completion.current": "bg:default fg:default reverse",
        "kind.verb": "bold",
        "kind.flag": "ansicyan",
        "kind.group": "ansimagenta",
        "kind.key": "ansimagenta",
        "kind.choice": "ansigreen",
        "kind.value": "ansigreen",
        "kind.config": "ansicyan",
        "kind.project": "ansicyan",
        "kind.job": "ansicyan",
        "kind.target": "ansimagenta",
        "kind.override": "ansimagenta",
        "kind.source": "bold",
        "kind.file": "",
        "kind.folder": "bold",
        "scrollbar.background": "bg:default",
        "scrollbar.button": "bg:#777777",
        "auto-suggestion": "#777777",
        # Brackets that belong together.
        "matching-bracket.other": "bg:default fg:default bold underline",
        "matching-bracket.cursor": "bg:default fg:default bold underline",
    }
)
"""The style of the prompt, on top of prompt_toolkit's own."""
