from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import pytest

from forge.base.errors import FileError, UsageError
from forge.chatting.talk import COMMANDS, SETTINGS, Talk

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def talk() -> Talk:
    found = Talk(system="be good")
    found.ask("hi")
    found.answer("hello")
    return found


def test_what_is_sent_begins_with_the_system_message(talk: Talk) -> None:
    assert [message["role"] for message in talk.messages()] == ["system", "user", "assistant"]
    assert talk.command("/system") == "system: be good"
    talk.command("/system none")
    assert [message["role"] for message in talk.messages()] == ["user", "assistant"]
    assert talk.command("/system") == "there is no system message"
    assert talk.command("/system be short") == "the system message is set"


def test_what_was_said_can_be_taken_back_or_forgotten(talk: Talk) -> None:
    assert talk.command("/undo") == "taken back: hi"
    assert talk.said == []
    assert talk.command("/undo") == "there is nothing to take back"
    talk.ask("x")
    assert "forgotten" in talk.command("/clear")
    assert talk.said == []


def test_settings_have_kinds(talk: Talk) -> None:
    assert talk.command("/set temperature 0.5") == "temperature = 0.5"
    assert "top_k = 3" in talk.command("/set top-k 3")
    talk.command("/set temperature")
    assert talk.settings == {"top_k": 3}
    for line, told in [
        ("/set nosuch 1", "no setting nosuch"),
        ("/set seed x", "a whole number"),
        ("/set top_p x", "a number"),
    ]:
        with pytest.raises(UsageError, match=told):
            talk.command(line)
    assert all(name in Talk().command("/set") for name in SETTINGS)


def test_a_talk_is_saved_and_loaded(talk: Talk, tmp_path: Path) -> None:
    path = tmp_path / "talk.json"
    talk.change("seed", "7")
    assert talk.command(f"/save {path}") == f"saved to {path}"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    other = Talk()
    assert other.command(f"/load {path}") == f"2 messages from {path}"
    assert other == talk
    for broken in ("{}", '{"system": "", "messages": [{"role": "x", "content": ""}], "settings": {}}', "[1]"):
        path.write_text(broken)
        with pytest.raises(UsageError, match="no talk"):
            other.command(f"/load {path}")
    path.write_text("[")
    with pytest.raises(FileError, match=r"talk.*:1: this is not JSON"):
        other.command(f"/load {path}")
    assert other == talk
    for line in ("/save", "/save!", "/load"):
        with pytest.raises(UsageError, match="name of a file"):
            talk.command(line)


def test_a_file_that_is_there_is_written_over_when_that_is_said(talk: Talk, tmp_path: Path) -> None:
    path, link = tmp_path / "my work", tmp_path / "link"
    path.write_text("precious")
    link.symlink_to(tmp_path / "missing")
    for there in (path, link, tmp_path):
        with pytest.raises(UsageError, match=r"(?s)is there already.*/save! "):
            talk.command(f"/save {there}")
    assert path.read_text() == "precious"
    assert talk.command(f"/save! {path}") == f"saved to {path}"
    assert Talk().command(f"/load {path}") == f"2 messages from {path}"


def test_a_misspelt_command_is_a_mistake(talk: Talk) -> None:
    with pytest.raises(UsageError, match=r"(?s)no command /claer.*/clear"):
        talk.command("/claer")
    assert all(name in talk.command("/help") for name in COMMANDS)
