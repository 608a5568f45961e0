from __future__ import annotations

import signal

import pytest
from ranks_told import COLLECTIVE, ENGINE, GONE, NAP, OTHER, facts

from forge.launch.casualty import judge


@pytest.mark.parametrize(
    ("one", "blamed", "why"),
    [
        ({"stack": NAP}, 1, "hangs in fetch (/p/data.py:12), and the others wait for it"),
        ({"stack": ()}, 1, "gives no stack"),
        ({"state": "T"}, 1, "SIGSTOP"),
        ({"state": "t"}, 1, "a debugger holds it"),
        ({"state": "D"}, 1, "a disk, a network folder"),
        ({"stack": OTHER, "marks": 25}, 1, "left out a collective in which the others wait"),
        ({"stack": OTHER, "marks": 15}, 0, "left out a collective"),
        ({"stack": ENGINE, "marks": 25}, 1, "left out a collective in which the others wait"),
        ({"stack": ENGINE, "marks": 15}, 1, "hangs in _engine_run_backward"),
        ({"state": GONE, "code": -9, "stack": ()}, 1, "killed by SIGKILL; the system does that when memory runs out"),
        ({"state": GONE, "code": -11}, 1, "killed by SIGSEGV; a library crashed"),
        ({"state": GONE, "code": None, "stack": ()}, 1, "ended without a word"),
        ({"state": GONE, "code": 1, "told": True, "words": "OSError: full\nmore"}, 1, "failed: OSError: full"),
        ({"state": GONE, "code": 0, "told": True, "step": 2}, 1, "ended after step 2, and rank 0 still wait"),
        ({"guilty": True, "words": "the loss is nan"}, 1, "failed: the loss is nan"),
    ],
)
def test_who_it_was(one: dict[str, object], blamed: int, why: str) -> None:
    verdict = judge([facts(0), facts(1, **one)])
    assert verdict.ranks == (blamed,)
    assert why in str(verdict)
    assert str(verdict).startswith(f"rank {blamed} ")


def test_a_rank_that_waits_for_its_device_is_not_the_one_that_sleeps() -> None:
    ranks = [facts(0, stack=ENGINE, marks=22), facts(1, stack=NAP, marks=21), facts(2, stack=ENGINE, marks=22)]
    assert judge(ranks).ranks == (1,)
    assert judge([facts(0, stack=COLLECTIVE), facts(1, stack=ENGINE, marks=22)]).ranks == (1,)


def test_those_that_lost_the_others_are_not_the_cause() -> None:
    closed = "RuntimeError: Connection closed by peer [10.0.0.1]:5"
    lost = [facts(rank, state=GONE, code=1, told=True, words=closed, gone=3.0) for rank in (0, 2)]
    assert judge([*lost, facts(1, state=GONE, code=1, told=True, words="ValueError: bad", gone=1.0)]).ranks == (1,)
    assert judge([*lost, facts(1, state=GONE, code=-9, gone=1.0)]).ranks == (1,)
    # One that was ended by those who look after it is no cause either.
    assert judge([lost[0], facts(1, state=GONE, code=-signal.SIGTERM, gone=5.0)]).ranks == (0,)


def test_a_node_that_is_gone_is_the_cause_of_what_the_others_say() -> None:
    closed = "RuntimeError: Connection closed by peer [10.0.0.1]:5"
    lost = facts(0, size=4, state=GONE, code=1, told=True, words=closed)
    assert str(judge([lost, facts(1, size=4)])) == "ranks 2-3 gave no answer, nor did their node"
    assert str(judge([facts(0, size=2)])) == "rank 1 gave no answer, nor did its node"
    homes = {0: "hal", 1: "hal", 2: "dave", 3: "dave"}
    assert str(judge([lost, facts(1, size=4)], homes)) == "ranks 2-3 gave no answer, nor did their node dave"
    assert judge([lost, facts(1, size=4, state=GONE, code=1, told=True, words="ValueError: bad")]).ranks == (1,)


def test_the_odd_one_of_many() -> None:
    many = [facts(rank, size=8) for rank in range(7)]
    assert judge([*many, facts(7, stack=OTHER)]).ranks == (7,)
    many = [facts(rank, size=7) for rank in range(7)]
    assert judge(many).ranks == ()
    assert "nothing tells the ranks apart" in judge(many).why
    assert judge([]).ranks == ()
    assert judge([facts(0, size=1, stack=NAP)]).ranks == (0,)


def test_hosts_that_wait_for_one_another_have_lost_what_joins_them() -> None:
    said = "what joins dave, hal may be cut, `forge doctor --hosts dave,hal` looks at it"
    assert str(judge([facts(0), facts(1, host="dave")])) == f"all ranks wait for one another: {said}"
    ahead = judge([facts(0), facts(1, host="dave", stack=OTHER, marks=25)])
    assert ahead.ranks == (1,)
    assert str(ahead).endswith(f"; or {said}")
    gone = facts(0, state=GONE, code=1, told=True, words="RuntimeError: Timed out waiting 7500ms", gone=1.0)
    assert said in str(judge([gone, facts(1, host="dave")]))
    assert str(judge([gone, facts(1)])).startswith("rank 0 failed: RuntimeError: Timed out")
    assert judge([gone, facts(1, host="dave", state="T")]).ranks == (1,)
    hosts = [facts(rank, size=9, host=f"n{rank}") for rank in range(9)]
    assert "n0, n1, n2, n3, 5 more may be cut" in str(judge(hosts))


def test_who_died_with_a_known_code_is_named_before_who_was_only_gone() -> None:
    ranks = [facts(0, state=GONE, code=None, gone=2.0), facts(1, state=GONE, code=1, gone=1.0)]
    assert str(judge(ranks)).startswith("rank 1 died: exit code 1")


def test_who_failed_by_itself_is_named_before_those_of_whom_nothing_is_known() -> None:
    gone = facts(0, state=GONE, code=None, gone=2.0)
    assert str(judge([gone, facts(1, state=GONE, code=1, told=True)])) == "rank 1 failed: exit code 1"
    closed = "RuntimeError: Connection closed by peer [10.0.0.1]:5"
    assert str(judge([gone, facts(1, state=GONE, code=1, told=True, words=closed)])).startswith("rank 0 died")
