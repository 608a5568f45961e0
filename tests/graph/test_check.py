"""Everything that is wrong with a graph, all at once and in order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from forge.base.errors import ConfigError, PolicyError
from forge.base.origin import Origin
from forge.compose.arguments import Argument
from forge.graph.check import FORGE_SECTIONS, Finding, check_graph, finding_of, in_order
from forge.graph.node import Call, Const, Edge, Expr, Graph, Map, Missing, Node, Seq
from forge.graph.policy import default_policy

if TYPE_CHECKING:
    from pathlib import Path

POLICY = default_policy(["zoo"])
ZOO = """
class Net:
    def __init__(self, width: int, depth: int = 2): ...
class Trainer:
    def __init__(self, model, optimizer=None, steps: int = 1, rate: float = 0.1, text: str = "", logger=None): ...
"""


@pytest.fixture
def zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("FORGE_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "zoo.py").write_text(ZOO)
    return str(tmp_path / "src")


class Drawn:
    """A graph from nested dicts: a line number for every value, ``$name`` for a reference to a top-level key."""

    def __init__(self, tree: dict[str, Any]) -> None:
        self.line = 0
        self.tree = tree
        self.nodes: dict[str, Node] = {}
        self.graph = Graph("train", Map((), tuple(self.edge((), key, value) for key, value in tree.items())))

    def edge(self, path: tuple[Any, ...], key: str | int, value: Any) -> Edge:
        self.line += 1
        origin = Origin("/p/train.yaml", self.line)
        if isinstance(value, str) and value.startswith("$"):
            top = value[1:]
            if top not in self.nodes:
                self.nodes[top] = self.node((top,), self.tree[top], origin)
            return Edge(key, self.nodes[top], origin, ref=True)
        node = self.nodes.get(str(key)) if not path else None
        if node is None:
            node = self.node((*path, key), value, origin)
            if not path:
                self.nodes[str(key)] = node
        return Edge(key, node, origin)

    def node(self, path: tuple[Any, ...], value: Any, origin: Origin) -> Node:
        if value == "???":
            return Missing(path, origin=origin)
        if isinstance(value, list):
            return Seq(path, tuple(self.edge(path, i, one) for i, one in enumerate(value)), origin=origin)
        if not isinstance(value, dict):
            return Const(path, value, origin=origin)
        if "_text_" in value:
            return Expr(
                path, "text", value["_text_"], tuple(self.edge(path, 0, one) for one in value["reads"]), origin=origin
            )
        items = tuple(self.edge(path, key, one) for key, one in value.items() if key != "_target_")
        if "_target_" in value:
            return Call(path, value["_target_"], (), items, origin=origin, target_origin=origin)
        return Map(path, items, origin=origin)


def net(**more: Any) -> dict[str, Any]:
    return {"_target_": "zoo.Net", "width": 3, **more}


def trainer(**more: Any) -> dict[str, Any]:
    return {"_target_": "zoo.Trainer", "model": "$model", **more}


def said(tree: dict[str, Any], zoo: str, **more: Any) -> list[str]:
    found = check_graph(Drawn(tree).graph, policy=POLICY, source_folders=[zoo], **more)
    return [f"{one.severity} {str(one).removeprefix('/p/train.yaml:')}" for one in found]


def test_nothing_is_said_of_a_config_that_is_right(zoo: str) -> None:
    assert said({"trainer": trainer(), "model": net()}, zoo) == []


def test_a_finding_prints_as_place_key_message_and_suggestion() -> None:
    finding = Finding(
        Origin("configs/optimizer/adamw.yaml", 3),
        "optimizer.beta",
        "AdamW has no argument 'beta'",
        "did you mean 'betas'?",
    )
    assert (
        str(finding)
        == "configs/optimizer/adamw.yaml:3: optimizer.beta: AdamW has no argument 'beta', did you mean 'betas'?"
    )
    assert str(Finding(None, "", "it is wrong")) == "it is wrong"


def test_all_mistakes_are_found_at_once_in_the_order_of_lines(zoo: str) -> None:
    tree = {
        "trainer": trainer(step=1, rate="fast", text="???"),
        "model": {"_target_": "zoo.Nett", "width": 3},
        "logger": {"_target_": "os.system"},
        "modle": net(),
    }
    assert said(tree, zoo) == [
        "error 2: model: zoo has no 'Nett', did you mean 'Net'?",
        "error 4: trainer.step: Trainer has no argument 'step', did you mean 'steps'?",
        "error 5: trainer.rate: 'rate' of Trainer must be float, not the text 'fast'",
        "error 6: trainer.text: Trainer needs this value, and it is missing (???), set it: trainer.text=VALUE",
        "warning 8: logger: nothing that 'trainer' needs uses 'logger', remove it, or refer to it with ${logger}",
        "error 8: logger: target 'os.system' is refused: the policy does not allow it, " + refusal("os.system"),
        "error 9: modle: nothing uses 'modle', did you mean 'model'?",
    ]


def refusal(target: str) -> str:
    with pytest.raises(PolicyError) as caught:
        POLICY.check_name(target)
    assert caught.value.hint
    return caught.value.hint


# Missing values


def test_a_missing_value_that_the_root_does_not_need_is_no_mistake(zoo: str) -> None:
    tree = {"trainer": trainer(), "model": net(), "launch": {"account": "???"}}
    assert said(tree, zoo) == []


def test_a_missing_value_names_the_flag_that_sets_it(zoo: str) -> None:
    tree = {"trainer": trainer(), "model": {"_target_": "zoo.Net", "width": "???"}}
    rule = Argument(name="net_width", key="model.width", type="int")
    assert said(tree, zoo, arguments=[rule]) == [
        "error 3: model.width: Net needs this value, and it is missing (???), give it a value: --net-width VALUE"
    ]


def test_a_missing_value_outside_of_any_object_is_said_too(zoo: str) -> None:
    tree = {"trainer": trainer(logger="$paths"), "model": net(), "paths": {"output": "???"}}
    assert [line.partition(", ")[0] for line in said(tree, zoo)] == [
        "error 5: paths.output: the value is missing (???)"
    ]


def test_a_single_target_needs_all_it_holds(zoo: str) -> None:
    root = Call(("model",), "zoo.Net", (), (Edge("width", Missing(("model", "width")), None),))
    assert [one.code for one in check_graph(Graph("train:model", root), policy=POLICY, source_folders=[zoo])] == [
        "missing"
    ]


# Unused keys


@pytest.mark.parametrize("section", FORGE_SECTIONS)
def test_sections_that_forge_reads_are_used(section: str, zoo: str) -> None:
    assert said({"trainer": trainer(), "model": net(), section: {"a": 1}}, zoo) == []


def test_what_a_section_of_forge_refers_to_is_used(zoo: str) -> None:
    assert said({"trainer": trainer(), "model": net(), "launch": {"nodes": "$nodes"}, "nodes": 2}, zoo) == []


def test_a_key_that_only_a_text_reads_is_used(zoo: str) -> None:
    tree = {"trainer": trainer(text={"_text_": "run-7", "reads": ["$seed"]}), "model": net(), "seed": 7}
    assert said(tree, zoo) == []


def test_a_key_that_a_flag_sets_is_used(zoo: str) -> None:
    rule = Argument(name="note", key="note.text", type="str")
    assert said({"trainer": trainer(), "model": net(), "note": {"text": "x"}}, zoo, arguments=[rule]) == []


def test_a_key_whose_part_is_used_is_used(zoo: str) -> None:
    shared = Const(("sizes", "width"), 3)
    model = Call(("model",), "zoo.Net", (), (Edge("width", shared, None, ref=True),))
    sizes = Map(("sizes",), (Edge("width", shared), Edge("other", Const(("sizes", "other"), 1))))
    root = Map((), (Edge("model", model), Edge("sizes", sizes)))
    assert check_graph(Graph("train", root), policy=POLICY, source_folders=[zoo], main="model") == []


def test_a_key_misspelt_beside_the_right_one_is_an_error(zoo: str) -> None:
    tree = {"trainer": trainer(optimizer="$optimizer"), "model": net(), "optimizer": net(), "optimzer": {"lr": 1}}
    assert [line.partition(" ")[0] for line in said(tree, zoo)] == ["error"]


def test_a_misspelt_section_of_forge_is_an_error(zoo: str) -> None:
    assert said({"trainer": trainer(), "model": net(), "lanch": {"nodes": 2}}, zoo) == [
        "error 5: lanch: nothing uses 'lanch', did you mean 'launch'?"
    ]


def test_a_config_without_a_root_object_has_no_unused_keys(zoo: str) -> None:
    assert said({"model": net(), "other": net()}, zoo) == []


def test_the_root_object_is_what_meta_main_says(zoo: str) -> None:
    tree = {"model": net(), "trainer": trainer()}
    assert [line.split(":")[1] for line in said(tree, zoo, main="model")] == [" trainer"]


def test_a_root_object_that_is_not_there_is_an_error(zoo: str) -> None:
    assert said({"model": net()}, zoo, main="modle") == [
        "error meta.main: the config has no key 'modle', the config's top-level keys are model"
    ]


# The config's own rules


@pytest.mark.parametrize(
    ("rule", "value", "wanted"),
    [
        ({"type": "int", "min": 1}, 0, "0 is below 1"),
        ({"type": "int", "max": 9}, 10, "10 is above 9"),
        ({"type": "int"}, "many", "'many' is not a whole number"),
        ({"type": "str", "choices": ("a", "b")}, "c", "'c' is not one of a, b"),
        ({"type": "int", "min": 1}, 1, ""),
        ({"type": "int", "min": 1}, None, ""),
    ],
)
def test_a_value_is_held_against_the_rule_for_it(rule: dict[str, Any], value: Any, wanted: str, zoo: str) -> None:
    tree = {"trainer": trainer(logger=value), "model": net()}
    found = said(tree, zoo, arguments=[Argument(name="logger", key="trainer.logger", **rule)])
    assert found == ([f"error 4: trainer.logger: {wanted}, a rule of args.logger"] if wanted else [])


def test_a_rule_for_a_key_that_is_not_there_is_not_broken(zoo: str) -> None:
    rule = Argument(name="x", key="trainer.nothing.here", type="int")
    assert said({"trainer": trainer(), "model": net()}, zoo, arguments=[rule]) == []


# Targets


def test_an_argument_that_switches_on_foreign_code_is_refused(zoo: str) -> None:
    found = said({"trainer": trainer(), "model": net(trust_remote_code=True)}, zoo)
    assert len(found) == 1
    assert "trust_remote_code=True is refused" in found[0]


def test_a_refused_target_is_not_also_looked_up(zoo: str) -> None:
    tree = {"trainer": trainer(logger={"_target_": "json.dmps"}), "model": net()}
    assert len(said(tree, zoo)) == 1


def test_a_shared_object_is_judged_once(zoo: str) -> None:
    tree = {"trainer": trainer(logger="$model", optimizer="$model"), "model": net(dpeth=1)}
    assert said(tree, zoo) == ["error 4: model.dpeth: Net has no argument 'dpeth', did you mean 'depth'?"]


# Problems that composing found


def test_a_problem_already_known_is_a_finding_and_its_gap_is_not_one(zoo: str) -> None:
    problem = ConfigError("${a}: nothing there", origin=Origin("/p/train.yaml", 9), key="model.width", hint="write it")
    tree = {"trainer": trainer(), "model": {"_target_": "zoo.Net", "width": "???"}}
    assert said(tree, zoo, problems=[problem]) == ["error 9: model.width: ${a}: nothing there, write it"]


def test_findings_are_sorted_by_place_and_each_is_said_once() -> None:
    one = finding_of(ConfigError("b", origin=Origin("/p/b.yaml", 2)))
    two = finding_of(ConfigError("a", origin=Origin("/p/b.yaml", 10)))
    three = finding_of(ConfigError("c"))
    assert in_order([two, one, three, one]) == [three, one, two]


def test_a_target_of_a_module_that_is_not_there_is_no_matter_of_the_policy(zoo: str) -> None:
    graph = Drawn({"trainer": {"_target_": "zooo.Net"}, "other": {"_target_": "nosuch_module_at_all.Foo"}}).graph
    found = check_graph(graph, policy=POLICY, source_folders=[zoo])
    said = {finding.key: (finding.message, finding.hint) for finding in found if finding.code == "no-module"}
    assert said == {
        "trainer": ("there is no module zooo", "did you mean 'zoo'?"),
        "other": ("there is no module nosuch_module_at_all", "install what has it, or correct the name"),
    }


def test_a_value_of_the_wrong_type_is_one_mistake(zoo: str) -> None:
    graph = Drawn({"trainer": {"_target_": "zoo.Trainer", "model": None, "steps": 1.5}}).graph
    rule = Argument("steps", "trainer.steps", (), "int")
    (found,) = check_graph(graph, policy=POLICY, source_folders=[zoo], arguments=[rule])
    assert "must be int" in found.message
