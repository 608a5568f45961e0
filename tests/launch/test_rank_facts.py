from __future__ import annotations

import json

import pytest
from ranks_told import NAP, facts

from forge.launch.rank_facts import CallFrame, exit_words, from_plain, main_stack, rank_names

DUMP = """\
Thread 0x00007f9df69c26c0 (most recent call first):
  File "/lib/threading.py", line 982 in run

Current thread 0x00007f9df7461b80 (most recent call first):
  File "/p/my data.py", line 12 in fetch
  File "/p/train.py", line 3 in <module>
  File "/forge/forge/launch/rank.py", line 45 in main
  File "<frozen runpy>", line 198 in _run_module_as_main

Thread 0x00007f9df7461b80 (most recent call first):
  File "/p/later.py", line 1 in end
  File "<frozen runpy>", line 198 in _run_module_as_main
"""


def test_the_main_thread_is_the_one_that_runs_the_module() -> None:
    assert main_stack(DUMP) == (CallFrame("/p/my data.py", 12, "fetch"), CallFrame("/p/train.py", 3, "<module>"))
    failed = f'Failed thread 0x0 (most recent call first):\n  File "/p/bug.py", line 9 in divide\n\n{DUMP}'
    for dump in (failed, DUMP + failed):
        assert main_stack(dump) == (CallFrame("/p/bug.py", 9, "divide"),)
    assert main_stack("") == ()
    assert main_stack("Fatal Python error: Segmentation fault\n\n" + DUMP) == main_stack(DUMP)


@pytest.mark.parametrize(
    ("code", "words"), [(None, "ended without a word"), (3, "exit code 3"), (-9, "killed by SIGKILL"), (-250, "250")]
)
def test_how_a_process_ended(code: int | None, words: str) -> None:
    assert words in exit_words(code)


def test_ranks_are_named_by_their_numbers() -> None:
    assert rank_names([facts(3)]) == "rank 3"
    assert rank_names(facts(rank) for rank in (7, 0, 1, 2)) == "ranks 0-2, 7"


def test_facts_travel_as_plain_data() -> None:
    one = facts(1, stack=NAP, words="x", code=-9)
    assert from_plain(json.loads(json.dumps(one._asdict()))) == one
