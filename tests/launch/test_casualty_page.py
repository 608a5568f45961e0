from __future__ import annotations

from test_casualty import ENGINE, GONE, NAP, facts

from forge.launch.casualty import judge
from forge.launch.casualty_page import casualty_page


def test_a_page_names_the_rank_and_shows_every_stack_once() -> None:
    ranks = [facts(rank, size=300) for rank in range(298)] + [facts(298, size=300, stack=NAP, words="so long")]
    verdict = judge(ranks)
    text = casualty_page(ranks, verdict, when="now", run="/runs/a", then="the run is ended", details="/runs/a/logs")
    lines = text.splitlines()
    assert lines[0] == "casualty: rank 298 hangs in fetch (/p/data.py:12), and the others wait for it"
    assert len(lines) <= 60
    assert lines[4].split() == ["298", "hal", "398", "3", "data", "31", "s", "not", "in", "a", "collective"]
    assert "and 283 more ranks" in lines
    assert "of 1 more rank nothing was heard: their node does not answer" in lines
    assert "ranks 0-297, innermost call first" in lines
    assert "  all_reduce (torch/distributed/distributed_c10d.py:3252)" in lines
    assert "rank 298 said: so long" in lines


def test_the_states_of_ranks_are_words() -> None:
    states = {
        "exit code 1": facts(state=GONE, code=1),
        "stopped": facts(state="T"),
        "held by a debugger": facts(state="t"),
        "in a system call that cannot be interrupted": facts(state="D"),
        "gave no stack": facts(stack=()),
        "may wait for its device": facts(stack=ENGINE),
    }
    for words, one in states.items():
        text = casualty_page([one], judge([one]), when="", run="", then="", details="")
        assert words in text.splitlines()[4]
