from __future__ import annotations

import stat
from typing import TYPE_CHECKING

from forge.chatting.said_before import SaidBefore

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_what_was_typed_is_there_next_time_and_private(environment: dict[str, str], tmp_path: Path) -> None:
    assert environment
    before = SaidBefore()
    for text in ("one", "two\nlines", "ü"):
        before.store_string(text)
    assert list(SaidBefore().load_history_strings()) == ["ü", "two\nlines", "one"]
    path = tmp_path / "data" / "talk_history"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_text('"a"\nbroken\n{}\n')
    assert list(SaidBefore().load_history_strings()) == ["a"]


def test_a_folder_that_cannot_be_written_is_no_reason_not_to_talk(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("FORGE_DATA_HOME", str(tmp_path / "file" / "data"))
    before = SaidBefore()
    before.store_string("x")
    assert list(before.load_history_strings()) == []
