from __future__ import annotations

import io
from typing import TYPE_CHECKING

from forge.base.errors import UsageError
from forge.shell.wording import ShellOutput

if TYPE_CHECKING:
    from conftest import Forge


def test_hints_say_what_is_typed_here() -> None:
    output = ShellOutput(io.StringIO(), io.StringIO())
    output.error(UsageError("no run yet", hint="`forge train` makes one, or forge -t OTHER show; forge is not meant"))
    output.write("forge show")  # a result is never changed
    assert isinstance(output.errors, io.StringIO)
    assert isinstance(output.stream, io.StringIO)
    assert output.errors.getvalue() == "error: no run yet\n  `train` makes one, or -t OTHER show; forge is not meant\n"
    assert output.stream.getvalue() == "forge show\n"


def test_in_a_shell_and_on_the_command_line(forge: Forge) -> None:
    assert "`jobs --all` lists the jobs" in forge("-c", "logs nosuch").stderr
    assert "`forge jobs --all` lists the jobs" in forge("logs", "nosuch").stderr
    shell = forge("-c", "help graph; help").stdout
    assert shell.startswith("usage: [-p PROJECT] [-t CONFIG] graph [FLAG ...] [OVERRIDE ...]\n")
    assert "\n  graph --format svg -o graph.svg\n" in shell
    assert "forge graph" not in shell
    assert "\nusage: [-p PROJECT] [-t CONFIG] VERB ...\n" in shell
    assert "--interactive" not in shell
    assert "forge graph --format svg" in forge("help", "graph").stdout
