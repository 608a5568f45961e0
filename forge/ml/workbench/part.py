"""Build one part of a config and say what came out."""

from __future__ import annotations

import contextlib
import io
import json
from typing import TYPE_CHECKING

from forge.base.errors import ForgeError
from forge.build.frozen import thaw
from forge.build.outcome import built_text, describe_built, failure_text
from forge.ml.workbench.answer import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["build_part"]


def build_part(_: Callable[[str], None], *, run: str, key: str, as_json: bool, debug: bool) -> Outcome:
    """Build what the frozen graph describes. What the objects print on the way is handed over with the answer."""
    frozen = thaw(run)
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            found = describe_built(key, frozen.build_whole())
    except (ForgeError, MemoryError):
        raise
    except Exception as error:  # the config's own objects may raise anything: a failed job, not a bug of forge
        if debug:
            raise
        return Outcome(code=1, printed=printed.getvalue(), error=failure_text(key, error))
    text = json.dumps(found, indent=2, ensure_ascii=False, default=str) if as_json else built_text(found)
    return Outcome(text, printed=printed.getvalue())
