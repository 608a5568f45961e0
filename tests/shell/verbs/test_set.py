from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Say

    from forge.shell.state import ShellSession


def test_changes_hold_for_the_lines_after(say: Say, shell: ShellSession) -> None:
    assert say("set trainer.max_steps=5 size=large") == (0, "", "")
    assert say("show --path trainer.max_steps; show --path size.dim")[1] == "5\n800\n"
    assert say("set trainer.max_steps=6; show --path trainer.max_steps trainer.title=x")[1] == "6\n"
    assert shell.overrides == ("trainer.max_steps=6", "size=large")


def test_the_configs_own_flags_can_be_set(say: Say, shell: ShellSession) -> None:
    assert say("set --max-steps 7 --quiet")[0] == 0
    assert shell.overrides == ("++trainer.max_steps=7", "++quiet=true")
    assert say("set --max-steps 0")[0] == 2
    assert say("show --path trainer.max_steps")[1] == "7\n"


@pytest.mark.parametrize("change", ["nosuch=1", "size=huge", "mode=${nosuch}", "mode=[", "", "mode"])
def test_what_does_not_compose_is_not_set(say: Say, shell: ShellSession, change: str) -> None:
    say("set quiet=true")
    code, out, errors = say(f"set {change}")
    assert (code, out) == (2, "")
    assert errors.startswith("error: ")
    assert shell.overrides == ("quiet=true",)
    assert len(shell.past) == 1
