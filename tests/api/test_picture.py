from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from forge.api.project import ProjectHandle


def test_a_notebook_shows_the_picture(project: ProjectHandle) -> None:
    config = project.config()
    assert config._repr_svg_().startswith("<svg") or "<svg" in config._repr_svg_()[:200]
    assert "<svg" in config.graph._repr_svg_()[:500]
    assert "<svg" in config.diff(project.config("other"))._repr_svg_()[:500]
