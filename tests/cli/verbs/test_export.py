from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Run


def test_the_module_gets_what_was_asked_for(run: Run, started: list[Any], empty: Path) -> None:
    (empty / "run").mkdir()
    assert run("export", "run", "new", cwd=empty).code == 3
    words = ["--checkpoint", "7", "--base", "b", "--template", "chatml", "--dtype=float16", "--max-shard-size", "1GB"]
    assert run("export", "run", "new", *words, "--best", cwd=empty).code == 3
    assert started == [
        ("forge.ml.convert", "export", "--", "run", "new"),
        (
            *("forge.ml.convert", "export", "--checkpoint=7", "--base=b", "--template=chatml", "--dtype=float16"),
            *("--max-shard-size=1GB", "--best", "--", "run", "new"),
        ),
    ]


def test_a_mistake_is_said_before_torch_is_imported(run: Run, started: list[Any], empty: Path) -> None:
    assert "there is no folder 'run'" in run("export", "run", "new", cwd=empty).errors
    (empty / "run").mkdir()
    done = run("export", "run", "run", cwd=empty)
    assert (done.code, started) == (2, [])
    assert "run is there already" in done.errors
