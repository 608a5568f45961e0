from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conftest import Say

    from forge.shell.state import ShellSession


def test_the_rest_of_the_script_does_not_run(say: Say, shell: ShellSession) -> None:
    assert say("exit; ls") == (0, "", "")
    assert shell.leaving
