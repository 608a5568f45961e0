from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from forge.base.places import library_configs
from forge.lsp.desk import Desk, Way

if TYPE_CHECKING:
    from pathlib import Path


def test_a_config_is_itself(desk: Desk, demo: Path) -> None:
    sheet = desk.sheet(str(demo / "configs" / "run.yaml"))
    assert sheet is not None
    assert (sheet.name, sheet.way, sheet.package, sheet.is_config) == ("run", Way("run"), (), True)
    assert sheet.absolute(("a", 1)) == ("a", 1)
    assert sheet.file_of("size/large") == str(demo / "configs" / "size" / "large.yaml")
    assert sheet.file_of("size/nosuch") is None


def test_a_choice_is_a_part_of_the_default_config_before_others(desk: Desk, demo: Path) -> None:
    sheet = desk.sheet(str(demo / "configs" / "size" / "small.yaml"))
    assert sheet is not None
    assert (sheet.way, sheet.package, sheet.is_config) == (Way("tiny"), ("size",), False)
    assert sheet.absolute(("dim",)) == ("size", "dim")
    sheet = desk.sheet(str(demo / "configs" / "size" / "large.yaml"))
    assert sheet is not None
    assert sheet.way == Way("other")


def test_a_choice_that_no_config_takes_is_chosen(desk: Desk, demo: Path) -> None:
    (demo / "configs" / "size" / "huge.yaml").write_text("dim: 1\n")
    sheet = desk.sheet(str(demo / "configs" / "size" / "huge.yaml"))
    assert sheet is not None
    assert sheet.way == Way("tiny", ("size=huge",))
    sheet = desk.sheet(os.path.join(library_configs(), "optimizer", "sgd.yaml"))
    assert sheet is not None
    assert sheet.project.folder == str(demo)
    assert (sheet.way, sheet.package) == (Way("optimizer/sgd", alone=True), ("optimizer",))


@pytest.mark.parametrize("name", ["project.yaml", "configs/x.yml", "src/demo_code.py", "../elsewhere.yaml"])
def test_a_file_that_is_no_config_has_no_sheet(desk: Desk, demo: Path, name: str) -> None:
    assert desk.sheet(str(demo / name)) is None


def test_what_is_typed_counts_before_it_is_saved(desk: Desk, demo: Path) -> None:
    small, tiny = demo / "configs" / "size" / "small.yaml", demo / "configs" / "tiny.yaml"
    desk.show(str(small), small.read_text())
    assert desk.unsaved() == {}
    desk.show(str(small), "dim: 77\n")
    assert list(desk.unsaved()) == [str(small)]
    sheet = desk.sheet(str(tiny))
    assert sheet is not None
    assert sheet.mapping(("size",))["dim"] == 77
    desk.hide(str(small))
    sheet = desk.sheet(str(tiny))
    assert sheet is not None
    assert sheet.mapping(("size",))["dim"] == 8


def test_what_changes_on_the_disk_counts_beside_what_is_typed(desk: Desk, demo: Path) -> None:
    desk.show(str(demo / "configs" / "tiny.yaml"), "defaults: [{size: small}]\nmode: typed\n")
    for dim in (5, 6):
        (demo / "configs" / "size" / "small.yaml").write_text(f"dim: {dim}\n")
        sheet = desk.sheet(str(demo / "configs" / "tiny.yaml"))
        assert sheet is not None
        assert sheet.mapping(())["mode"] == "typed"
        assert sheet.mapping(("size",)) == {"dim": dim}


def test_a_text_that_does_not_compose_is_seen_as_it_last_did(desk: Desk, demo: Path) -> None:
    file = str(demo / "configs" / "run.yaml")
    assert desk.sheet(file) is not None
    desk.show(file, "defaults: [nosuch\n")
    sheet = desk.sheet(file)
    assert sheet is not None
    assert sheet.mapping(("runner",))["mode"] == "slow"
    fresh = Desk([str(demo)])
    fresh.show(file, "defaults: [nosuch, tiny, _self_]\n")
    sheet = fresh.sheet(file)
    assert sheet is not None
    assert sheet.mapping(())["mode"] == "fast", "as far as it composes"


def test_half_a_word_does_not_hide_the_mapping_it_replaces(desk: Desk, demo: Path) -> None:
    file = str(demo / "configs" / "run.yaml")
    desk.show(file, "defaults: [tiny, _self_]\ntrainer:\n  max\n")
    sheet = desk.sheet(file)
    assert sheet is not None
    assert sheet.mapping(("trainer",))["max_steps"] == 100
    assert sheet.mapping(("nosuch",)) == {}


def test_targets_are_looked_up_and_named(desk: Desk, demo: Path) -> None:
    project = desk.project_of(str(demo / "configs" / "run.yaml"))
    assert project is not None
    assert desk.lookup(project, "demo_code.Runner").signature is not None
    assert desk.lookup(project, "demo_code.Nosuch").status == "absent"
    assert "demo_code.Runner" in desk.named(project).targets
    (demo / "configs" / "new.yaml").write_text("a: {_target_: x.New}\n")
    assert "x.New" in desk.named(project).targets
