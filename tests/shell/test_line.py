from __future__ import annotations

import pytest

from forge.base.errors import UsageError
from forge.shell.line import Command, split_commands


@pytest.mark.parametrize(
    ("text", "commands"),
    [
        ("", []),
        ("   # nothing", []),
        ("ls", [Command(("ls",))]),
        ("ls; ; config x;", [Command(("ls",)), Command(("config", "x"))]),
        ("ls\n\n# then\nshow --path a\n", [Command(("ls",)), Command(("show", "--path", "a"))]),
        ("train --max-steps 5 &", [Command(("train", "--max-steps", "5"), background=True)]),
        ("train & ; jobs", [Command(("train",), background=True), Command(("jobs",))]),
        ("set a='&'", [Command(("set", "a=&"))]),
        ("set a='x;y' b=\"1\"", [Command(("set", "a=x;y", "b=1"))]),
        ("why '&'", [Command(("why", "&"))]),
        ("!ls -l; pwd", [Command(system="ls -l; pwd")]),
        ("ls\n! date # now", [Command(("ls",)), Command(system="date # now")]),
        ("set text='two\nlines'; ls", [Command(("set", "text=two\nlines")), Command(("ls",))]),
    ],
    ids=repr,
)
def test_a_text_is_split_into_commands(text: str, commands: list[Command]) -> None:
    assert split_commands(text) == commands


def test_a_quote_that_is_not_closed_is_a_mistake() -> None:
    with pytest.raises(UsageError, match="a quote is not closed: 'x y"):
        split_commands("set a=1 'x y")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("show | head -3", "a pipe is for"),
        ("show > x", "-o FILE"),
        ("show >x", "-o FILE"),
        ("!", "is missing behind !"),
    ],
)
def test_what_only_the_systems_shell_can_do_is_told(text: str, says: str) -> None:
    with pytest.raises(UsageError) as raised:
        split_commands(text)
    assert says in str(raised.value)


def test_signs_in_quotes_are_text() -> None:
    assert split_commands("set 'a=x|y' '>'") == [Command(("set", "a=x|y", ">"))]
