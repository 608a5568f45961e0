from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from forge.base.errors import UsageError
from forge.cli import verbs
from forge.cli.registry import VERBS

if TYPE_CHECKING:
    from forge.cli.registry import Verb


def test_every_file_of_the_folder_is_a_verb() -> None:
    files = {name.removesuffix(".py") for name in os.listdir(os.path.dirname(verbs.__file__)) if name.endswith(".py")}
    assert {verb.name.strip("_").replace("-", "_") for verb in VERBS.all} == files - {"__init__"}


@pytest.mark.parametrize("verb", VERBS.all, ids=lambda verb: verb.name)
def test_a_verb_explains_itself_with_an_example(verb: Verb) -> None:
    assert verb.summary[0].islower()
    assert not verb.summary.endswith(".")
    if not verb.hidden:
        assert f"\n  forge {verb.name}" in verb.help or f" {verb.name} " in verb.help.split("\n  forge", 1)[1]


@pytest.mark.parametrize("verb", VERBS.all, ids=lambda verb: verb.name)
def test_no_two_flags_of_a_verb_have_one_name(verb: Verb) -> None:
    names = [name for option in verb.options for name in option.names]
    assert len(names) == len(set(names))
    # Behind a verb that works on no config, -t may be that verb's own: `forge convert -t chatml SRC DST`.
    of_every_verb = {"-p", "--project", "--config", "-h", "--help", "--debug"} | (
        {"-t"} if verb.takes_config else set()
    )
    assert not of_every_verb & set(names)


def test_names_and_aliases_are_unique() -> None:
    names = [name for verb in VERBS.all for name in (verb.name, *verb.aliases)]
    assert len(names) == len(set(names))


def test_an_alias_is_the_same_verb() -> None:
    assert VERBS.find("pp") is VERBS.find("show")


def test_a_misspelt_verb_is_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'graph'"):
        VERBS.find("grpah")


@pytest.mark.parametrize("word", ["__init__", "../main", "", "ls.py", "os"])
def test_what_is_no_verb_is_not_imported(word: str) -> None:
    with pytest.raises(UsageError):
        VERBS.find(word)


def test_listing_the_verbs_imports_nothing_heavy() -> None:
    code = "import sys; from forge.cli.registry import VERBS; VERBS.all; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "hydra", "omegaconf", "yaml", "rich", "pygments", "argparse", "forge.api.project"} & set(
        modules
    )
