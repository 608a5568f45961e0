from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from forge.base.trust import is_trusted

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Run


@pytest.fixture
def source(project: Path) -> Path:
    """The demo with code of its own."""
    folder = project / "src" / "demo_code"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("VALUE = 1\n")
    with (project / "project.yaml").open("a") as file:
        file.write("source: src\n")
    return project / "src"


def test_trust_is_given_and_taken_back(run: Run, source: Path) -> None:
    assert not is_trusted(source)
    assert run("trust") == (0, f"trusted: {source}\n", "")
    assert is_trusted(source)
    assert run("trust", "--revoke") == (0, f"no longer trusted: {source}\n", "")
    assert not is_trusted(source)


def test_a_project_is_named_by_its_folder_or_its_name(run: Run, source: Path, project: Path, empty: Path) -> None:
    assert run("trust", str(project), cwd=empty).code == 0
    assert is_trusted(source)
    assert run("trust", "demo", "--revoke", cwd=project.parent).code == 0
    assert not is_trusted(source)
    assert run("-p", str(project), "trust", cwd=empty).code == 0
    assert is_trusted(source)


def test_changed_code_is_not_trusted_any_more(run: Run, source: Path) -> None:
    assert run("trust").code == 0
    (source / "demo_code" / "__init__.py").write_text("VALUE = 2\n")
    assert not is_trusted(source)


def test_a_project_without_code_says_so(run: Run) -> None:
    assert run("trust") == (0, "demo has no code of its own\n", "")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nosuch"], "there is no project 'nosuch'"),
        (["a", "b"], "trust does not know what to do with 'b'"),
        (["--revok"], "did you mean '--revoke'?"),
        ([""], "trust was given an empty word"),
    ],
)
def test_a_mistake_is_named(run: Run, words: list[str], message: str) -> None:
    done = run("trust", *words)
    assert (done.code, done.out) == (2, "")
    assert message in done.errors


@pytest.mark.parametrize("place", ["/dev/null", "/dev/null/below"])
def test_a_place_that_cannot_be_written_is_an_error(
    run: Run, source: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORGE_DATA_HOME", place)
    done = run("trust")
    assert done.code == 2
    assert place in done.errors
    assert source.is_dir()


def test_outside_of_every_project_the_code_of_forges_own_is_meant(run: Run, empty: Path) -> None:
    done = run("trust", cwd=empty)
    assert done.code == 0
    assert done.out.endswith("projects/pydoc/src\n")
