"""The server as editors start it, spoken to in its protocol; and texts that somebody is in the middle of typing."""

from __future__ import annotations

import os
import random
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from speak import Client

from forge.base.places import library_configs, shipped_projects
from forge.lsp.completion import completions_at
from forge.lsp.definition import definition_at
from forge.lsp.desk import Desk
from forge.lsp.diagnostics import diagnostics_of
from forge.lsp.hover import hover_at
from forge.lsp.symbols import symbols_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Spot

HEAVY = ("torch", "transformers", "numpy", "demo_code", "forge.ml")
TYPED = ["{", "[", '"', "'", "\t", "${", "- ", ": ", "&a ", "*b ", "!!x ", "\0", "| \n", "é🙂", "%", "@", "\r\n"]
CASES = 400 if os.environ.get("FORGE_FULL") == "1" else 30


@pytest.fixture
def client(demo: Path, environment: dict[str, str]) -> Iterator[Client]:
    command = [sys.executable, "-X", "importtime", "-m", "forge", "lsp"]  # what it imports goes to stderr
    with Client(command, demo, environment=environment) as made:
        yield made


def test_an_editor_gets_its_answers(client: Client, demo: Path, spot: Callable[[str], Spot]) -> None:
    run = demo / "configs" / "run.yaml"
    text = run.read_text()

    def ask(method: str, mark: str) -> object:
        where = spot(text.replace(mark.replace("‸", ""), mark))
        return client.at(method, run, where.line, where.column)

    client.open(run)
    assert client.judged(run) == [] or all(one["severity"] == 2 for one in client.judged(run))
    place = ask("definition", "lar‸ge")
    assert place["uri"] == (demo / "configs" / "size" / "large.yaml").as_uri()
    place = ask("definition", "demo_code.Run‸ner")
    assert (place["uri"], place["range"]["start"]["line"]) == ((demo / "src" / "demo_code.py").as_uri(), 5)
    assert "size.dim = 800" in ask("hover", "${size.d‸im}")["contents"]["value"]
    shown = ask("hover", "demo_code.Run‸ner")
    assert "Runs things." in shown["contents"]["value"]
    assert shown["range"]["start"] == {"line": 6, "character": 12}
    symbols = client.request("textDocument/documentSymbol", {"textDocument": {"uri": run.as_uri()}})
    assert [one["name"] for one in symbols] == ["defaults", "meta", "runner", "trainer"]
    assert ask("hover", "runner‸:\n  _target") is not None
    assert not [line for line in client.errors.splitlines() if line.split("|")[-1].strip() in HEAVY]


def test_it_ends_well_when_the_editor_says_so_and_when_the_editor_is_gone(
    demo: Path, environment: dict[str, str]
) -> None:
    command = [sys.executable, "-m", "forge", "lsp"]
    with Client(command, demo, environment=environment) as told:
        pass
    assert (told.process.returncode, told.errors) == (0, "")
    with Client(command, demo, environment=environment) as left:
        assert left.process.stdin is not None
        left.process.stdin.close()
        left.process.wait(20)
    assert "internal error" not in left.errors


def test_text_that_is_not_saved_is_judged(client: Client, demo: Path) -> None:
    run = demo / "configs" / "run.yaml"
    client.open(run)
    client.change(run, run.read_text().replace("mode: slow", "mode: slwo"))
    [problem] = [one for one in client.judged(run) if one["severity"] == 1]
    assert problem["range"] == {"start": {"line": 8, "character": 2}, "end": {"line": 8, "character": 6}}
    assert (problem["source"], problem["code"]) == ("forge", "wrong-type")
    client.change(run, run.read_text())
    assert [one for one in client.judged(run) if one["severity"] == 1] == []


def test_a_change_in_one_file_is_seen_in_the_others_that_are_open(client: Client, demo: Path) -> None:
    run, large = demo / "configs" / "run.yaml", demo / "configs" / "size" / "large.yaml"
    client.open(run)
    client.open(large)
    client.change(large, "_target_: builtins.dict\nlayers: 2\n", wait=False)
    client.told(run, "size.dim")
    client.notify("textDocument/didClose", {"textDocument": {"uri": large.as_uri()}})
    assert client.judged(large) == []


def test_completion_replaces_what_was_typed(client: Client, demo: Path) -> None:
    run = demo / "configs" / "run.yaml"
    text = run.read_text().replace("size: large", "size: 🙂la")
    client.open(run, text)
    column = len("  - override size: ")
    text = text.replace("🙂", "")
    client.change(run, text)
    found = client.at("completion", run, 2, column + 2)["items"]
    edit = next(one["textEdit"] for one in found if one["label"] == "large")
    assert edit["newText"] == "large"
    assert edit["range"] == {"start": {"line": 2, "character": column}, "end": {"line": 2, "character": column + 2}}


def test_columns_count_as_the_editor_counts_them(client: Client, demo: Path) -> None:
    run = demo / "configs" / "run.yaml"
    client.open(run, "defaults: [tiny, _self_]\na: 🙂🙂 ${size.dim}\n")
    shown = client.at("hover", run, 1, len("a: ") + 4 + len(" ${si"))
    assert shown["range"] == {"start": {"line": 1, "character": 8}, "end": {"line": 1, "character": 19}}


def test_what_the_server_cannot_use_does_not_end_it(client: Client, demo: Path, tmp_path: Path) -> None:
    client.open(tmp_path / "elsewhere.yaml", "a: [")
    assert client.at("hover", tmp_path / "elsewhere.yaml", 0, 1) is None
    run = demo / "configs" / "run.yaml"
    client.open(run, "\0\ufeff: [\n- {a")
    ends = {one["textEdit"]["range"]["end"]["line"] for one in client.at("completion", run, 99, 99)["items"]}
    assert ends <= {1}
    assert client.at("definition", run, 0, 1) is None
    client.notify("$/unknown", {"a": 1})
    client.notify("textDocument/didSave", {"textDocument": {"uri": run.as_uri()}})
    client.change(run, run.read_text())
    assert client.at("hover", run, 6, 13) is not None
    assert "Traceback" not in client.errors


@pytest.mark.parametrize("name", ["tiny", "assembled", "train"])
def test_no_text_that_is_being_typed_fails(name: str) -> None:
    files = {
        "tiny": os.path.join(shipped_projects(), "pydoc", "configs", "pretrain", "tiny.yaml"),
        "assembled": os.path.join(library_configs(), "model", "assembled.yaml"),
        "train": os.path.join(library_configs(), "args", "train.yaml"),
    }
    file = files[name]
    text = Path(file).read_text(encoding="utf-8")
    desk = Desk([os.path.join(shipped_projects(), "pydoc")])
    choose = random.Random(7)
    for _ in range(CASES):
        end = choose.randrange(len(text))
        typed = text[:end] if choose.random() < 0.5 else text[:end] + choose.choice(TYPED) + text[end:]
        desk.show(file, typed)
        lines = typed[:end].split("\n")
        for ask in (completions_at, hover_at, definition_at):
            ask(desk, file, typed, len(lines) - 1, len(lines[-1]))
        symbols_of(typed)
        diagnostics_of(desk, file, typed)


@pytest.mark.slow
def test_answers_come_while_one_types() -> None:
    """The budget is 50 ms; a busy machine gets four times as much, on the median of several questions."""
    file = os.path.join(shipped_projects(), "pydoc", "configs", "pretrain", "tiny.yaml")
    text = Path(file).read_text(encoding="utf-8")
    lines = text.split("\n")
    row = next(number for number, line in enumerate(lines) if line.startswith("  lr:"))
    desk = Desk([os.path.join(shipped_projects(), "pydoc")])
    desk.show(file, text)
    for ask in (completions_at, hover_at, definition_at):
        ask(desk, file, text, row, 3)
        took = []
        for number in range(9):
            changed = text.replace("  lr: 2.0e-3", f"  lr: 2.0e-{number}")
            begun = time.perf_counter()
            desk.show(file, changed)
            ask(desk, file, changed, row, 3)
            took.append(time.perf_counter() - begun)
        assert sorted(took)[4] < 0.2, ask
