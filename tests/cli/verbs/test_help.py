from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from forge.cli.registry import VERBS

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Run

    from forge.cli.registry import Verb


def test_without_a_verb_all_are_listed(run: Run) -> None:
    assert run("help") == run("--help")
    assert run("help").code == 0


@pytest.mark.parametrize("verb", [verb for verb in VERBS.all if not verb.hidden], ids=lambda verb: verb.name)
def test_help_about_a_verb_is_what_its_flag_prints(run: Run, verb: Verb) -> None:
    done = run("help", verb.name)
    assert (done.code, done.errors) == (0, "")
    assert done == run(verb.name, "--help")
    assert all(name in done.out for option in verb.options for name in option.names)


def test_an_alias_is_explained_too(run: Run) -> None:
    assert run("help", "pp") == run("help", "show")


def test_a_misspelt_verb_is_answered_with_the_nearest(run: Run) -> None:
    assert run("help", "shwo") == (2, "", "error: there is no verb 'shwo'\n  did you mean 'show'?\n")


@pytest.mark.parametrize("words", [["show", "graph"], ["--json"], ["show", "-o", "x"], [""]])
def test_help_takes_one_verb_and_nothing_else(run: Run, words: list[str]) -> None:
    assert run("help", *words).code == 2


def test_the_flags_of_the_chosen_config_are_explained(run: Run) -> None:
    assert "--max-steps, -M INT" in run("-t", "other", "help", "show").out


def test_outside_of_every_project_the_flags_of_forges_own_config_are_explained(run: Run, empty: Path) -> None:
    assert "flags of pretrain/tiny:" in run("help", "show", cwd=empty).out
