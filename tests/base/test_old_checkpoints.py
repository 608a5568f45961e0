from __future__ import annotations

from typing import TYPE_CHECKING

from forge.base.old_checkpoints import checkpoint_around, checkpoint_steps, would_mix

if TYPE_CHECKING:
    from pathlib import Path


def test_checkpoints_are_known_by_their_names(tmp_path: Path) -> None:
    assert checkpoint_steps(str(tmp_path)) == []
    for name in ("checkpoint-20", "checkpoint-3", "checkpoint-3-2", "checkpoint-x", ".checkpoint-9", "other"):
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
    assert checkpoint_steps(str(tmp_path)) == [3, 3, 20]


def test_what_would_mix_says_the_ways_out() -> None:
    error = would_mix("out", 20)
    assert error.what == "out holds checkpoints up to step 20 already"
    assert "--resume-from-checkpoint auto" in str(error.hint)


def test_what_lies_in_a_checkpoint_is_known(tmp_path: Path) -> None:
    named, renamed, other = tmp_path / "checkpoints" / "checkpoint-3", tmp_path / "best", tmp_path / "of others"
    for folder in (named, renamed / "state", other):
        folder.mkdir(parents=True)
    for folder in (named, renamed, other):
        (folder / "manifest.json").write_text("{}")
    assert checkpoint_around(str(named)) == checkpoint_around(str(named / "runs" / "x")) == str(named)
    assert checkpoint_around(str(renamed / "checkpoints")) == str(renamed)
    assert checkpoint_around(str(other)) is None
    assert checkpoint_around(str(tmp_path / "checkpoints")) is None
