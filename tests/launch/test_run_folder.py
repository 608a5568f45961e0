from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import forge
from forge.build.frozen import thaw
from forge.launch.run_folder import new_run_folder, with_output_folder, write_run_folder

if TYPE_CHECKING:
    from pathlib import Path

    from forge.api import ConfigHandle


def _config(folder: Path, *overrides: str) -> ConfigHandle:
    (folder / "configs" / "exp").mkdir(parents=True, exist_ok=True)
    (folder / "project.yaml").write_text("name: p\n")
    (folder / "configs" / "exp" / "a.yaml").write_text(
        "# @package _global_\ntrainer: {_target_: collections.OrderedDict, output_dir: null, size: 3}\n"
    )
    return forge.open(folder).config("exp/a", *overrides)


def test_a_run_without_a_folder_gets_one_named_after_project_and_config(tmp_path: Path) -> None:
    config, output = with_output_folder(_config(tmp_path))
    assert output == "output/p/exp/a"
    assert config.data(path="trainer.output_dir") == output


def test_a_folder_that_the_config_names_stays(tmp_path: Path) -> None:
    config, output = with_output_folder(_config(tmp_path, "trainer.output_dir=o-${trainer.size}"))
    assert output == "o-3"
    assert config.data(path="trainer.output_dir") == "o-${trainer.size}"


def test_two_runs_never_share_a_folder(tmp_path: Path) -> None:
    names = set()
    for _ in range(3):
        name = new_run_folder(str(tmp_path), "exp/a")
        (tmp_path / name).mkdir(parents=True)
        names.add(name)
    assert len(names) == 3
    assert all("-exp-a" in name for name in names)


def test_a_run_folder_holds_the_graph_and_what_it_ran_on(tmp_path: Path) -> None:
    config = _config(tmp_path, "trainer.size=5")
    folder = tmp_path / "run"
    write_run_folder(config, str(folder), {"command": ["x"]})
    assert thaw(folder).build("trainer") == {"output_dir": None, "size": 5}
    assert json.loads((folder / "launch.json").read_text()) == {"command": ["x"]}
    assert json.loads((folder / "env.json").read_text())["git"] is None
    assert "size: 5" in (folder / "config.yaml").read_text()


def test_the_state_of_the_repository_is_written_down(tmp_path: Path) -> None:
    config = _config(tmp_path)
    for words in (["init", "-q"], ["add", "."], ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "x"]):
        subprocess.run(["git", "-C", str(tmp_path), *words], check=True)
    (tmp_path / "configs" / "exp" / "new.yaml").write_text("a: 1\n")
    write_run_folder(config, str(tmp_path / "run"), {})
    git = json.loads((tmp_path / "run" / "env.json").read_text())["git"]
    assert len(git["commit"]) == 40
    assert any("new.yaml" in line for line in git["changed"])
