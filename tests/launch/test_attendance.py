from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from forge.base.errors import ToolError
from forge.launch.address import Endpoint
from forge.launch.attendance import (
    Attendee,
    RollCall,
    absent_names,
    absent_node,
    not_shared,
    refuse_same_number,
    this_node,
    unlike_node,
)

if TYPE_CHECKING:
    from pathlib import Path

HERE = Attendee("hal", {"torch": "2.13"}, "10.0.0.1", 0)
GUEST = Attendee("muthur", {"torch": "2.13"}, "10.0.0.2", 2)


def call(**changes: object) -> RollCall:
    return RollCall(**{"endpoint": Endpoint("127.0.0.1", 29500), "nodes": 4, "id": "7", "folder": "run", **changes})  # type: ignore[arg-type]


def test_this_node_says_what_it_runs(run: Path) -> None:
    before = this_node(str(run)).runs
    (run / "graph.json").write_text("{}")
    own = this_node(str(run))
    assert (own.name, str(own)) == (socket.gethostname(), socket.gethostname())
    assert set(own.runs) - set(before) == {"frozen config"}
    assert own.runs["forge"].endswith(")")


@pytest.mark.parametrize(
    ("changes", "here", "names"),
    [
        ({}, [HERE, GUEST], "nodes 2, 4 of 4"),
        ({"names": ("a", "b", "c", "10.0.0.7")}, [HERE, GUEST], "nodes 2, 4 of 4 (b, 10.0.0.7)"),
        ({"nodes": 3}, [HERE, GUEST], "node 2 of 3"),
        ({}, [HERE, Attendee("x", {})], "2 nodes of 4"),
        ({"nodes": 3}, [HERE, Attendee("x", {})], "node 3 of 3"),
        ({"names": ("a", "b")}, [HERE, GUEST], "2 nodes of 4"),
    ],
)
def test_who_is_absent(changes: dict[str, object], here: list[Attendee], names: str) -> None:
    assert absent_names(call(**changes), here) == names


def test_where_to_look_for_who_is_absent() -> None:
    assert "node 2 of 3 never came within 60 seconds; here are hal (10.0.0.1)" in str(
        absent_node(call(nodes=3), [HERE, GUEST])
    )
    elsewhere = call(endpoint=Endpoint("nosuch.invalid", 29500))
    assert "is no address of this machine" in str(absent_node(elsewhere, [HERE]))
    unknown = absent_node(call(nodes=2, names=("127.0.0.1", "nosuch.invalid")), [HERE])
    assert "nosuch.invalid does not answer from here either: nobody knows that name here" in str(unknown)


def test_nodes_that_are_not_alike() -> None:
    assert unlike_node(HERE, GUEST, 1.0) is None
    assert "torch is 2.13 on hal (10.0.0.1) and 1.0 on x" in str(unlike_node(HERE, Attendee("x", {"torch": "1.0"}), 0))
    assert "61 seconds apart" in str(unlike_node(HERE, GUEST, -61.0))
    assert "muthur (10.0.0.2) does not see what is in the run folder" in str(not_shared("run", GUEST))
    refuse_same_number([HERE, GUEST, Attendee("x", {}), Attendee("y", {})])
    with pytest.raises(ToolError, match="both say that they are node 0"):
        refuse_same_number([HERE, Attendee("x", {}, number=0)])
