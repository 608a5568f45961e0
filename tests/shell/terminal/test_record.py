"""The picture of the shell in the documents can be taken again, and is text and colours alone."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from picture import LIGHT, Frame, Run, draw
from record import ROOT, record

if TYPE_CHECKING:
    from pathlib import Path

PICTURE = ROOT / "docs" / "images" / "shell.svg"
_SVG = "{http://www.w3.org/2000/svg}"


def _lines(picture: str) -> set[str]:
    return {"".join(element.itertext()) for element in ET.fromstring(picture).iter(f"{_SVG}text")}  # noqa: S314 - made here


def test_the_walk_is_recorded_from_a_real_shell(user: dict[str, str], tmp_path: Path) -> None:
    picture = record(user)
    assert {"graph", "--focus", "Adafactor", "✓"} <= _lines(picture)
    assert "did you mean" in picture
    assert str(ROOT) not in picture
    assert str(tmp_path) not in picture


def test_the_picture_of_the_documents_needs_nothing_else() -> None:
    text = PICTURE.read_text(encoding="utf-8")
    kinds = {element.tag.removeprefix(_SVG) for element in ET.fromstring(text).iter()}  # noqa: S314 - made here
    assert kinds == {"svg", "style", "rect", "circle", "text", "g"}
    assert not re.search(r"url\(|@import|href|(?<!xmlns=\")https?:", text)
    assert len(text) < 300_000
    assert {"graph", "diff", "undo"} <= _lines(text)
    for page in (ROOT / "README.md", ROOT / "docs" / "shell.md"):
        assert "images/shell.svg" in page.read_text(encoding="utf-8")


def test_a_line_that_stays_is_drawn_once() -> None:
    run = Run(0, 0, "a <b>", "green", "", bold=True, italic=False, underlined=False)
    other = run._replace(row=1, text="later", ground="default")
    frames = [Frame((run,), (0, 5), 1.0), Frame((run, other), None, 3.0)]
    moving = draw(frames, "title", 20, 2)
    assert moving.count("a &lt;b&gt;") == 1
    assert "@keyframes f0{0%{opacity:0}25.000%{opacity:1}100%{opacity:1}}" in moving
    still = draw(frames, "title", 20, 2, LIGHT, only=0)
    assert "later" not in still
    assert "@keyframes" not in still
    assert LIGHT["green"] in still
