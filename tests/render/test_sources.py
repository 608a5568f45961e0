from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest

from forge.compose.cache import compose
from forge.compose.project import find_project
from forge.render.sources import SOURCE_FORMS, draw_sources, sources

if TYPE_CHECKING:
    from pathlib import Path

    from forge.compose.composed import Composed

FILES = {
    "project.yaml": "name: demo\ngroups: [size, part]\n",
    "configs/top.yaml": "defaults: [base, {size: big}, _self_]\nx: 1\n",
    "configs/base.yaml": 'defaults: [{part: one}, _self_]\ny: <a&"b>\n',
    "configs/size/big.yaml": "defaults: [small, _self_]\nn: 2\n",
    "configs/size/small.yaml": "n: 1\n",
    "configs/part/one.yaml": "z: 1\n",
}


@pytest.fixture
def composed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Composed:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setenv("FORGE_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("FORGE_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    return compose(find_project(str(tmp_path)), "top")


def test_the_files_stand_below_the_one_that_named_them(composed: Composed) -> None:
    assert [(source.config, source.depth) for source in sources(composed)] == [
        ("top", 0),
        ("base", 1),
        ("part/one", 2),
        ("size/big", 1),
        ("size/small", 2),
    ]


def test_the_tree_is_drawn_with_lines(composed: Composed) -> None:
    assert [
        line.split("  ")[0].rstrip() if not line.startswith(("│", " ")) else line
        for line in draw_sources(composed, "tree").splitlines()
    ] == [
        "top",
        "├── base",
        "│   └── part/one  as part  (configs/part/one.yaml, project)",
        "└── size/big",
        "    └── size/small  as size  (configs/size/small.yaml, project)",
    ]


def test_the_list_has_each_file_once(composed: Composed) -> None:
    files = draw_sources(composed, "files").splitlines()
    assert files[0] == "configs/top.yaml"
    assert len(files) == len(set(files)) == 5


def test_the_dot_form_has_an_arrow_for_each_name(composed: Composed) -> None:
    assert '"top" -> "size/big";' in draw_sources(composed, "dot")


def test_the_picture_is_well_formed_and_names_every_file(composed: Composed) -> None:
    root = ET.fromstring(draw_sources(composed, "svg"))  # noqa: S314 - our own picture
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert texts == ["top", "base", "part/one", "size/big", "size/small"]


@pytest.mark.parametrize("form", SOURCE_FORMS)
def test_every_form_is_drawn(composed: Composed, form: str) -> None:
    assert "small" in draw_sources(composed, form)
