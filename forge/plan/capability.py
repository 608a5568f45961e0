"""Whether a run can be: what stands in its way, why, and the nearest changes with which it can.

``refusals`` is the one place that is asked: by ``forge check`` before anything starts, by ``forge plan``, and by a run itself.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from forge.plan.clashes import choice_objections
from forge.plan.near import layouts_near, override_lines
from forge.plan.objections import size_objections
from forge.plan.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from forge.plan.asked import RunQuestion

__all__ = ["is_possible", "refusals"]

_MOST_NEAREST: Final = 3


def is_possible(asked: RunQuestion) -> bool:
    """Whether nothing stands in the way, without looking for ways out where something does, which takes a hundred times longer."""
    return not _objections(asked)


def refusals(asked: RunQuestion, prefix: str = "parallel") -> list[Refusal]:
    """What stands in the way of a run on so many processes; nothing when it is possible.

    Of a model that nothing is known of, the layout and the other choices alone are judged. `prefix` is where the config has the layout.
    """
    found = _objections(asked)
    if not found:
        return []
    settled = {each for each in found if each.nearest}
    nearest = tuple(_lines_near(asked, settled, prefix)) if len(settled) < len(found) else ()
    return [each._replace(nearest=_below(each.nearest, prefix) or nearest) for each in found]


def _below(lines: tuple[str, ...], prefix: str) -> tuple[str, ...]:
    """Lines for a layout that a config has elsewhere than at `parallel`."""
    return tuple(re.sub(r"(?<!\S)parallel\.", f"{prefix}.", line) for line in lines)


def _objections(asked: RunQuestion) -> list[Refusal]:
    try:
        fitted = asked.layout.for_ranks(asked.ranks)
    except ValueError as error:
        many = f"{asked.ranks} processes" if asked.ranks != 1 else "one process"
        return [Refusal("", f"the layout does not fit {many}", str(error))]
    asked = replace(asked, layout=fitted)
    return [*size_objections(asked), *choice_objections(asked)]


def _lines_near(asked: RunQuestion, settled: set[Refusal], prefix: str) -> Iterator[str]:
    """The smallest changes of the layout that leave nothing in the way but what has ways out of its own."""
    found = 0
    for layout in layouts_near(asked.layout, asked.ranks):
        if settled.issuperset(_objections(replace(asked, layout=layout))):
            yield override_lines(layout, asked.layout, prefix)
            found += 1
            if found == _MOST_NEAREST:
                return
