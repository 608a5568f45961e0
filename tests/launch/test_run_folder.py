from __future__ import annotations

import json
import os
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from forge.base.errors import FileError
from forge.launch.local import AskedHere, LocalLaunch
from forge.launch.run_folder import (
    describe_run,
    last_run_folder,
    new_run_folder,
    read_asked,
    read_topology,
    take_folder,
    topology_file,
)
from forge.launch.topology import Mount, Topology

if TYPE_CHECKING:
    from pathlib import Path


def test_where_a_run_was_handed_to_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert read_topology(str(tmp_path)) is None
    mounts = (Mount("ckpt", "/ckpt"),)
    for topology in (
        Topology(kind="ssh", hosts=("a:4", "b"), nodes=2, setup=("module load x",)),
        Topology(kind="k8s_job", image="x", mounts=mounts, env={"A": "1"}),
    ):
        name, text = topology_file(topology)
        (tmp_path / name).write_text(text)
        assert read_topology(str(tmp_path)) == topology
    for text in ("[]", '{"kind": "moon", "mounts": []}'):
        (tmp_path / "topology.json").write_text(text)
        with pytest.raises(FileError, match="does not say where the run was"):
            read_topology(str(tmp_path))


def test_two_runs_never_share_a_folder(tmp_path: Path) -> None:
    names = set()
    for _ in range(3):
        name = new_run_folder(str(tmp_path), "exp/a")
        (tmp_path / name).mkdir(parents=True)
        names.add(name)
    assert len(names) == 3
    assert all("-exp-a" in name for name in names)


def test_of_many_that_take_a_folder_at_once_one_has_it(tmp_path: Path) -> None:
    many, folder = 8, str(tmp_path / "runs" / "new")
    together = threading.Barrier(many)

    def take(number: int) -> int | str:
        together.wait()
        try:
            take_folder(folder, f"number: {number}\n")
        except FileError as error:
            return str(error)
        return number

    with ThreadPoolExecutor(many) as pool:
        found = list(pool.map(take, range(many)))
    (winner,) = [each for each in found if isinstance(each, int)]
    assert (tmp_path / "runs" / "new" / "config.yaml").read_text() == f"number: {winner}\n"
    lost = [each for each in found if isinstance(each, str)]
    assert all(each.startswith("another run has just begun in ") for each in lost)


def test_a_folder_that_cannot_be_made_says_why(tmp_path: Path) -> None:
    (tmp_path / "runs").touch()
    with pytest.raises(FileError, match=r"runs") as caught:
        take_folder(str(tmp_path / "runs" / "new"), "")
    assert "another run" not in str(caught.value)


def test_the_newest_run_is_the_one_that_began_last(tmp_path: Path) -> None:
    assert last_run_folder(str(tmp_path), "graph.json") is None
    for number, name in enumerate(
        ["20240101-000000-b", "20240101-000001-a-2", "20240101-000001-a-10", "20231231-235959-z"]
    ):
        path = tmp_path / "runs" / name / "graph.json"
        path.parent.mkdir(parents=True)
        path.touch()
        os.utime(path, (number, number))
    (tmp_path / "runs" / "20250101-000000-empty").mkdir()
    (tmp_path / "runs" / "notes.txt").touch()
    assert last_run_folder(str(tmp_path), "graph.json") == str(tmp_path / "runs" / "20240101-000001-a-10")


def _describe(folder: Path, project: Path) -> dict[str, Any]:
    launch = LocalLaunch(("x",), {"A": "1"}, AskedHere("cpu", 2, ("--max-restarts", "1")))
    take_folder(str(folder), "size: 5\n")
    describe_run(str(folder), launch=launch, project_folder=str(project))
    return dict(json.loads((folder / "env.json").read_text()))


def test_a_run_folder_says_what_was_asked_for_and_what_it_runs_on(tmp_path: Path) -> None:
    found = _describe(tmp_path / "run", tmp_path)
    assert (tmp_path / "run" / "config.yaml").read_text() == "size: 5\n"
    told = json.loads((tmp_path / "run" / "launch.json").read_text())
    assert (told["command"], told["environment"]) == (["x"], {"A": "1"})
    assert read_asked(str(tmp_path / "run")) == (AskedHere("cpu", 2, ("--max-restarts", "1")), os.getcwd())
    assert found["git"] is None
    assert "hydra-core" in found["packages"]


@pytest.mark.parametrize(
    "text", ["[]", "{}", '{"asked": 3, "folder": ""}', '{"asked": {"devices": 1, "nproc": "x", "words": []}}']
)
def test_what_does_not_say_how_is_an_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "launch.json").write_text(text)
    with pytest.raises(FileError, match=r"launch\.json does not say how the run was started"):
        read_asked(str(tmp_path))


def test_the_state_of_the_repository_is_written_down(tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "a.yaml").write_text("a: 1\n")
    for words in (["init", "-q"], ["add", "."], ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "x"]):
        subprocess.run(["git", "-C", str(project), *words], check=True)
    (project / "new.yaml").write_text("a: 1\n")
    git = _describe(tmp_path / "run", project)["git"]
    assert len(git["commit"]) == 40
    assert git["changed"] == ["?? new.yaml"]
