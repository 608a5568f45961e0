"""What a watchdog knows of ranks, as examples."""

from __future__ import annotations

from forge.launch.rank_facts import CallFrame, RankFacts

GONE = "X"
COLLECTIVE = (
    CallFrame("/v/site-packages/torch/distributed/distributed_c10d.py", 3252, "all_reduce"),
    CallFrame("/p/train.py", 7, "sum"),
)
OTHER = (COLLECTIVE[0], CallFrame("/p/train.py", 70, "evaluate"))
ENGINE = (CallFrame("/v/site-packages/torch/autograd/graph.py", 869, "_engine_run_backward"),)
NAP = (CallFrame("/p/data.py", 12, "fetch"), CallFrame("/p/train.py", 3, "step"))


def facts(rank: int = 0, **changes: object) -> RankFacts:
    """A rank that waits in the third step."""
    known = RankFacts(rank, 2, "hal", 100 + rank, 3, 20, "data", 31.0, "S", stack=COLLECTIVE)
    return known._replace(**changes)  # type: ignore[arg-type]
