from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from forge.api.project import ProjectHandle


def test_a_difference_is_a_list_of_changes_and_a_line(project: ProjectHandle) -> None:
    tiny, other = project.config("tiny"), project.config("other")
    difference = tiny.diff(other)
    assert difference
    assert "size.dim" in str(difference)
    assert not tiny.override(*difference.overrides()).diff(other)
    assert not tiny.diff(project.config("tiny"))
    assert {one["path"] for one in difference.data()} == {"size.dim", "trainer.steps"}
