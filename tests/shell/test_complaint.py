from __future__ import annotations

from forge.shell.complaint import Complaints


def fail() -> str:
    raise ValueError("no\nsuch thing")


def test_a_mistake_is_remembered_shown_at_one_prompt_and_never_again() -> None:
    complaints = Complaints()
    assert complaints.guarded("it failed", fail, "nothing") == "nothing"
    assert complaints.text == "it failed: ValueError: no such thing"
    assert "in fail" in complaints.details
    complaints.next_prompt()
    assert complaints.text == ""
    complaints.guarded("it failed", fail, "")
    assert complaints.text == ""
    complaints.add("another", "too slow")
    assert (complaints.text, complaints.details) == ("another: too slow", "")


def test_what_does_not_fail_is_handed_through() -> None:
    complaints = Complaints()
    assert complaints.guarded("it failed", lambda: 3, 0) == 3
    assert complaints.text == ""
