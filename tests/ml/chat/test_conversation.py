from __future__ import annotations

from forge.ml.chat.conversation import Conversation, RowError


def test_an_error_says_its_reason_and_what_it_was() -> None:
    assert str(RowError("no messages")) == "no messages"
    error = RowError("unknown role", "message 2")
    assert (error.reason, error.detail, str(error)) == ("unknown role", "message 2", "unknown role: message 2")


def test_the_turns_of_the_assistant_are_found() -> None:
    roles = ["system", "user", "assistant", "tool", "assistant"]
    assert Conversation([{"role": role, "content": ""} for role in roles]).assistant_turns() == [2, 4]
