from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conftest import Say

    from forge.shell.state import ShellSession


def test_changes_are_taken_back(say: Say, shell: ShellSession) -> None:
    say("set mode=slow quiet=true size=large")
    assert say("unset mode size") == (0, "", "")
    assert shell.overrides == ("quiet=true",)
    assert say("unset --all; overrides")[1] == ""
    say("undo")
    assert shell.overrides == ("quiet=true",)


def test_what_is_not_set_cannot_be_taken_back(say: Say) -> None:
    assert say("unset")[0] == 2
    assert say("set mode=slow; unset mod")[2] == "error: mod is not set\n  did you mean 'mode'?\n"


def test_a_change_that_another_one_needs_stays(say: Say, shell: ShellSession) -> None:
    say("set +extra=1; set 'trainer.title=${extra}'")
    assert say("unset extra")[0] == 2
    assert len(shell.overrides) == 2
