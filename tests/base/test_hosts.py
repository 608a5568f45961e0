from __future__ import annotations

from forge.base.hosts import count_hosts


def test_a_host_may_say_how_many_processes_it_has() -> None:
    assert count_hosts(["a:4", "dave@b", "c:x"], 2) == (("a", 4), ("dave@b", 2), ("c:x", 2))
    assert count_hosts([], 2) == ()
