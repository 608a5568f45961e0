from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Run


def test_the_module_gets_what_was_asked_for(run: Run, started: list[Any], empty: Path) -> None:
    assert run("download", "me/tiny", cwd=empty).code == 3
    line = [
        "me/tiny",
        "--include",
        "*.json,*.model",
        "--exclude",
        "original*",
        "--revision",
        "v1",
        "--local-dir",
        "d/e",
    ]
    assert run("download", *line, cwd=empty).code == 3
    assert run("download", "me/data", "rows", "--type", "dataset", cwd=empty).code == 3
    assert started == [
        ("forge.ml.convert", "download", "--type=model", "--", "me/tiny", "tiny"),
        (
            *("forge.ml.convert", "download", "--type=model", "--revision=v1", "--include=*.json", "--include=*.model"),
            *("--exclude=original*", "--", "me/tiny", "d/e"),
        ),
        ("forge.ml.convert", "download", "--type=dataset", "--", "me/data", "rows"),
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["me/tiny", "a", "--local-dir", "b"], "DST and --local-dir name the same thing"),
        (["me/"], "'me/' is no repository"),
        (["me/there"], "there is there already"),
    ],
)
def test_a_mistake_is_said_before_anything_is_asked_for(
    run: Run, started: list[Any], empty: Path, words: list[str], message: str
) -> None:
    (empty / "there").mkdir()
    done = run("download", *words, cwd=empty)
    assert (done.code, started) == (2, [])
    assert message in done.errors
