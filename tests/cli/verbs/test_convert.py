from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Run


def test_the_module_gets_what_was_asked_for(run: Run, started: list[Any], empty: Path) -> None:
    (empty / "src").mkdir()
    (empty / "tokens.yaml").write_text("special_tokens: [a]")
    line = ["-t", "../chatml.jinja", "src", "dst", "--add-tokens", "tokens.yaml", "--dtype", "bfloat16", "--check"]
    assert run("convert", *line, cwd=empty).code == 3
    other = ["--max-shard-size=2GB", "--max-length", "64", "--to", "assembled", "--dry-run"]
    assert run("convert", "src", "dst", *other, cwd=empty).code == 3
    assert started == [
        (
            *("forge.ml.convert", "convert", "--template=../chatml.jinja", "--add-tokens=tokens.yaml"),
            *("--dtype=bfloat16", "--check", "--", "src", "dst"),
        ),
        (
            *("forge.ml.convert", "convert", "--to=assembled", "--max-length=64"),
            *("--max-shard-size=2GB", "--dry-run", "--", "src", "dst"),
        ),
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["none", "dst"], "there is no folder 'none'"),
        (["src", "src"], "SRC and DST are the same folder"),
        (["src", "there"], "there is there already"),
        (["src", "dst", "--add-tokens", "none.yaml"], "there is no file 'none.yaml'"),
        (["src", "dst", "--max-length", "0"], "--max-length is at least 1"),
        (["src", "dst", "--dtype", "int8"], "int8"),
        (["src"], "convert needs DST"),
    ],
)
def test_a_mistake_is_said_before_torch_is_imported(
    run: Run, started: list[Any], empty: Path, words: list[str], message: str
) -> None:
    (empty / "src").mkdir()
    (empty / "there").mkdir()
    done = run("convert", *words, cwd=empty)
    assert done.code == 2
    assert message in done.errors
    assert started == []
