from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from forge.cli.help import argument_help, overview
from forge.cli.registry import VERBS
from forge.compose.arguments import Argument

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Run


def test_the_overview_has_a_line_for_every_verb_that_is_not_hidden() -> None:
    lines = overview().splitlines()
    for verb in VERBS.all:
        named = any(line.startswith(f"  {', '.join((verb.name, *verb.aliases))} ") for line in lines)
        assert named is not verb.hidden
    assert any(line.startswith("  -t, --config CONFIG ") for line in lines)


def test_the_help_of_a_verb_shows_the_flags_of_the_chosen_config(run: Run) -> None:
    text = run("-t", "tiny.yaml", "show", "--help").out
    assert "flags of tiny:" in text
    assert "  --max-steps, -M INT  Stop after this many steps. (sets trainer.max_steps; at least 1)" in text
    assert "one of fast, slow" in text
    assert "  --quiet " in text


def test_a_flag_that_the_verb_has_itself_is_not_listed_for_the_config(run: Run, project: Path) -> None:
    (project / "configs" / "own.yaml").write_text("args: {nproc: {key: n, type: int}}\nn: 1\n")
    assert "own declares no flags of its own." in run("-t", "own", "train", "--help").out
    assert "--nproc INT" in run("-t", "own", "show", "--help").out


def test_verbs_that_only_read_a_config_say_where_its_flags_are_listed(run: Run) -> None:
    for verb in ("ckpt", "edit", "diff", "graph"):
        lines = run("-t", "tiny", verb, "--help").out.splitlines()
        assert lines[-1] == "The config's own flags mean the same here: forge -t CONFIG train --help lists them."
        assert not any("--max-steps, -M" in line for line in lines)


def test_flags_may_stand_below_headings_of_their_own(run: Run) -> None:
    text = run("inf", "--help").out
    both, server = text.index("\nflags:"), text.index("\nflags of the server:")
    client = text.index("\nflags of the client:")
    assert both < text.index("  -m, --model") < text.index("  -h, --help") < server
    assert server < text.index("  --max-num-seqs") < client < text.index("  --temperature")


@pytest.mark.parametrize("words", [["-t", "nosuch"], ["-p", "nosuch"], ["-t", "bad"]])
def test_a_verb_is_explained_also_when_its_config_does_not_compose(run: Run, project: Path, words: list[str]) -> None:
    (project / "configs" / "bad.yaml").write_text("a: [\n")
    done = run(*words, "show", "--help")
    assert (done.code, done.errors) == (0, "")
    assert done.out.splitlines()[-1].startswith("The config's own flags are not known: ")


def test_the_usage_line_shows_words_and_aliases(run: Run) -> None:
    assert run("show", "-h").out.startswith("usage: forge [-p PROJECT] [-t CONFIG] show|pp [FLAG ...] [OVERRIDE ...]\n")
    assert run("new", "-h").out.startswith("usage: forge [-p PROJECT] new [FLAG ...] KIND NAME\n")
    assert run("diff", "-h").out.startswith("usage: forge [-p PROJECT] [-t CONFIG] diff [FLAG ...] [CONFIG ...] ")


def test_help_wins_over_every_other_mistake_behind_it(run: Run) -> None:
    assert run("why", "--help").code == 0
    assert run("show", "a", "b", "--help").code == 0


@pytest.mark.parametrize(
    ("argument", "text"),
    [
        (
            Argument("n", "a.n", (), "int", min=1, max=9, help="How many."),
            "How many. (sets a.n; at least 1; at most 9)",
        ),
        (Argument("m", "m", (), "str", choices=("a", "b"), default="a"), "(sets m; one of a, b; default a)"),
        (Argument("lr", "o.lr", (), "float", min=1e-05), "(sets o.lr; at least 1e-05)"),
    ],
)
def test_a_flag_is_explained_by_its_rules(argument: Argument, text: str) -> None:
    assert argument_help(argument) == text


@pytest.mark.parametrize("columns", ["0", "1", "7", "40", "-3", "x", "100000"])
def test_every_width_of_a_terminal_is_good_enough(columns: str, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert run("--help").code == 0
    done = run("graph", "--help")
    assert (done.code, done.errors) == (0, "")
    assert max(map(len, done.out.splitlines())) <= 100


def test_examples_stay_as_they_are_in_a_narrow_terminal(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    assert "  forge -t pretrain/tiny show optimizer=adafactor trainer.max_steps=10\n" in run("show", "--help").out


@pytest.mark.parametrize("columns", range(40, 101, 3))
def test_a_flag_is_never_broken_at_its_hyphens(columns: int, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    assert [line for line in run("train", "--help").out.splitlines() if line.endswith("-")] == []
