"""Every command and every program shown in the README and in docs/ does what is shown."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

_SPEC = importlib.util.spec_from_file_location("markdown_blocks", Path(__file__).with_name("blocks.py"))
assert _SPEC is not None
assert _SPEC.loader is not None
blocks = importlib.util.module_from_spec(_SPEC)
sys.modules["markdown_blocks"] = blocks  # dataclasses look their module up
_SPEC.loader.exec_module(blocks)

PAGES = blocks.pages()
NAMES = [str(page.relative_to(blocks.ROOT)) for page in PAGES]
NOT_RUN = [
    pytest.param(block.not_run, id=f"{name}:{block.line}")
    for name, page in zip(NAMES, PAGES, strict=True)
    for block in blocks.read_blocks(page.read_text(encoding="utf-8"))
    if block.not_run is not None
]


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_a_page_shows_what_happens(page: Path, tmp_path: Path) -> None:
    shown = [block for block in blocks.read_blocks(page.read_text(encoding="utf-8")) if block.runs]
    folder = blocks.scratch(tmp_path) if shown else tmp_path
    wrong = [text for block in shown for text in blocks.run_block(block, folder)]
    assert not wrong, "\n\n".join(wrong)


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_each_block_of_a_page_says_its_language(page: Path) -> None:
    unnamed = [block.line for block in blocks.read_blocks(page.read_text(encoding="utf-8")) if not block.language]
    assert unnamed == []


@pytest.mark.parametrize("reason", NOT_RUN)
def test_a_block_that_is_not_run_says_why(reason: str) -> None:
    assert len(reason.split()) > 1, "a reason is more than a word"
    pytest.skip(reason)


# ---- the reader itself

SAMPLE = """
# Title

```bash
echo one
cd sub && echo two > file
```

<!-- not run: needs a cluster -->
```console
$ forge train
```

- item

  ```console
  $ printf 'a\\nb 17 ms\\n'
  a
  b ... ms
  $ false  # exit 1
  $ echo x \\
  > y
  x y
  ```

~~~python
print(1)
~~~

````text
```bash
not a command
```
````
"""


def test_the_blocks_of_a_page_are_found_with_their_reasons() -> None:
    found = blocks.read_blocks(SAMPLE)
    assert [(block.language, block.line, block.not_run) for block in found] == [
        ("bash", 4, None),
        ("console", 10, "needs a cluster"),
        ("console", 16, None),
        ("python", 26, None),
        ("text", 30, None),
    ]


def test_commands_come_with_their_output_and_exit_code() -> None:
    assert [(c.text, c.output, c.code) for c in blocks.read_commands(blocks.read_blocks(SAMPLE)[2])] == [
        ("printf 'a\\nb 17 ms\\n'", "a\nb ... ms", 0),
        ("false  # exit 1", "", 1),
        ("echo x \\\ny", "x y", 0),
    ]


def test_a_reason_counts_for_the_next_block_only() -> None:
    page = "<!-- not run: slow -->\n```sh\na\n```\n```sh\nb\n```\n\ntext\n\n```sh\nc\n```\n"
    assert [block.not_run for block in blocks.read_blocks(page)] == ["slow", None, None]


def test_a_long_block_runs_at_full_size(monkeypatch: pytest.MonkeyPatch) -> None:
    (long, short) = blocks.read_blocks("<!-- long: trains -->\n```sh\na\n```\n```sh\nb\n```\n")
    monkeypatch.setattr(blocks, "FULL", False)
    assert (long.runs, short.runs) == (False, True)
    monkeypatch.setattr(blocks, "FULL", True)
    assert (long.runs, short.runs) == (True, True)


def test_a_block_that_fails_on_purpose_has_to_fail(tmp_path: Path) -> None:
    page = "<!-- fails: on purpose -->\n```console\n$ echo a; false\na\n```\n"
    assert outcome(page, tmp_path) == []
    assert "exit 0, not another code than 0" in outcome(page.replace("false", "true"), tmp_path)[0]
    assert outcome("<!-- fails: raises -->\n```python\n1 / 0\n```\n", tmp_path) == []
    assert outcome("<!-- fails: raises -->\n```python\n1 / 1\n```\n", tmp_path) != []


@pytest.mark.parametrize(
    ("shown", "actual", "expected"),
    [
        ("", "anything", True),
        ("a\nb", "a  \nb\n", True),
        ("a\n...\nz", "a\nb\nc\nz", True),
        ("took ... s", "took 1.5 s", True),
        ("a", "a\nb", False),
        ("a", "b", False),
        ("a.c", "abc", False),
    ],
)
def test_dots_stand_for_anything_and_nothing_else_does(shown: str, actual: str, expected: object) -> None:
    assert blocks.matches(shown, actual) is expected


def outcome(page: str, folder: Path) -> list[str]:
    return [text for block in blocks.read_blocks(page) for text in blocks.run_block(block, folder)]


def test_what_works_as_shown_is_not_reported(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    assert (
        outcome(
            "\n".join(
                part
                for part in [
                    SAMPLE.split("<!--", maxsplit=1)[0],
                    "- item" + SAMPLE.split("- item")[1].split("````", maxsplit=1)[0],
                ]
            ),
            tmp_path,
        )
        == []
    )
    assert (tmp_path / "sub" / "file").read_text() == "two\n"


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ("```bash\nfalse\necho later\n```\n", "exit 1, not 0"),
        ("```console\n$ echo a\nb\n```\n", "but prints\na"),
        ("```console\n$ true # exit 1\n```\n", "exit 0, not 1"),
        ("```python\nraise SystemExit(3)\n```\n", "exit 3"),
        ("```console\n$ exit 4\n$ echo never\n```\n", "exit none, not 0"),
        ("```console\n$ cd /\n$ pwd\n/tmp\n```\n", "but prints\n/"),
    ],
)
def test_what_does_not_work_as_shown_is_reported(page: str, expected: str, tmp_path: Path) -> None:
    assert any(expected in text for text in outcome(page, tmp_path))


def test_commands_see_the_programs_of_this_environment_and_no_terminal(tmp_path: Path) -> None:
    here = os.path.dirname(sys.executable)
    assert outcome(f"```console\n$ command -v python\n{here}/python\n$ test -t 0  # exit 1\n```\n", tmp_path) == []


def test_the_scratch_copy_has_the_projects_and_not_the_history(tmp_path: Path) -> None:
    folder: Callable[[str], Path] = blocks.scratch(tmp_path).joinpath
    assert folder("projects").is_dir()
    assert folder("configs").is_dir()
    assert not folder(".git").exists()
    assert not folder(".venv").exists()
