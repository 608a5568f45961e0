from __future__ import annotations

from forge.base.origin import Origin
from forge.graph.change import Move, Set, Unshare, as_config
from forge.graph.node import Call, Const, Edge, Expr, Map, Missing, Seq


def test_changes_are_equal_when_they_say_the_same_wherever_it_is_written() -> None:
    here, there = Origin("a.yaml", 1), Origin("b.yaml", 2)
    assert Set(("a",), 1, 2, (here, here)) == Set(("a",), 1, 2, (there, None), text="2")
    assert Set(("a",), 1, 2) != Set(("a",), 1, 3)
    assert Move(("b",), ("a",), {"x": 1}) == Move(("b",), ("a",), {"x": 2})
    assert Unshare(("b",), ("a",), 1) != Unshare(("b",), ("c",), 1)


def test_a_node_is_written_as_a_config_file_would_hold_it() -> None:
    tok = Call(("tok",), "m.Tok", mode="partial")
    root = Map(
        (),
        (
            Edge("tok", tok),
            Edge(
                "model",
                Call(("model",), "m.M", (Edge(0, Const(("model", "_args_", 0), 1)),), (Edge("tok", tok, ref=True),)),
            ),
            Edge("dtype", Call(("dtype",), "torch.bfloat16", mode="symbol")),
            Edge("name", Expr(("name",), "run-${seed}", "run-1")),
            Edge("path", Missing(("path",))),
            Edge("list", Seq(("list",), (Edge(0, tok, ref=True),))),
            Edge("hooks", Seq(("hooks",), (Edge("a", Const(("hooks", "a"), None)),))),
        ),
    )
    assert as_config(root) == {
        "tok": {"_target_": "m.Tok", "_partial_": True},
        "model": {"_target_": "m.M", "_args_": [1], "tok": "${tok}"},
        "dtype": {"_symbol_": "torch.bfloat16"},
        "name": "run-${seed}",
        "path": "???",
        "list": ["${tok}"],
        "hooks": {"_list_": True, "a": None},
    }
    assert as_config(tok, ref=True) == "${tok}"
