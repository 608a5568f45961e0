from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conftest import Say

    from forge.shell.state import ShellSession


def test_a_config_is_chosen_with_or_without_its_suffix(say: Say, shell: ShellSession) -> None:
    for name in ("other", "other.yaml", "configs/other.yaml"):
        shell.config = None
        assert say(f"config {name}") == (0, "", "")
        assert shell.config == "other"
    assert say("show --path trainer.max_steps")[1] == "200\n"


def test_pending_changes_stay_with_the_config_they_were_made_for(say: Say, shell: ShellSession) -> None:
    assert say("set mode=slow; config other")[2] == "1 pending change stayed behind; `undo` brings them back\n"
    assert shell.overrides == ()
    say("undo")
    assert (shell.config, shell.overrides) == (None, ("mode=slow",))
    assert say("config tiny; config tiny") == (0, "", "")  # which it was without being chosen
    say("set quiet=true; config tiny")
    assert shell.overrides == ("mode=slow", "quiet=true")


def test_without_a_name_they_are_listed_and_a_wrong_one_suggests(say: Say) -> None:
    assert say("config")[1] == "   other\n * tiny\n"
    assert say("config other; configs")[1] == " * other\n   tiny\n"
    assert "did you mean 'other'?" in say("config othr")[2]
