from __future__ import annotations

import pytest

from forge.cli.options import Option, Positional
from forge.cli.registry import VERBS


@pytest.mark.parametrize(
    ("names", "name"),
    [(("-o", "--output"), "output"), (("--hydra-compat",), "hydra_compat"), (("-r",), "r"), (("--json", "-j"), "json")],
)
def test_a_verb_finds_an_option_under_its_longest_name(names: tuple[str, ...], name: str) -> None:
    assert Option(names, "help").name == name


@pytest.mark.parametrize(
    ("least", "most", "shown"), [(1, 1, "KEY"), (0, 1, "[KEY]"), (1, None, "KEY ..."), (0, 2, "[KEY ...]")]
)
def test_a_usage_line_shows_how_many_words_there_may_be(least: int, most: int | None, shown: str) -> None:
    assert Positional("KEY", "a key", least, most).shown == shown


@pytest.mark.parametrize("option", [*(one for verb in VERBS.all for one in verb.options)], ids=lambda one: one.names[0])
def test_every_option_of_every_verb_is_whole(option: Option) -> None:
    assert all(name.startswith("--") or len(name) == 2 for name in option.names)
    assert option.help[0].islower()
    assert not option.help.endswith(".")
    assert option.value or not (option.choices or option.completes or option.default)
    if option.choices:
        assert option.default in {None, *option.choices}
