from __future__ import annotations

from typing import TYPE_CHECKING

from forge.compose.project import find_project
from forge.render.schema.seen import Branch, Named, seen

if TYPE_CHECKING:
    from pathlib import Path


def test_a_place_keeps_what_was_seen_there() -> None:
    place = Branch()
    place.add({"a": {"_target_": "x.y", "b": {"c": 1}}, "odd key": {"d": 1}, 3: 4})
    place.add({"a": {"plain": 1}})
    found = place.find(("a",))
    assert found is not None
    assert (found.targets, found.plain, sorted(found.children)) == ({"x.y"}, True, ["b", "plain"])
    assert place.find(("a", "b", "c")) is not None
    assert place.find(("a", "nosuch", "c")) is None
    assert sorted(place.children) == ["a"]


def test_plain_data_inside_an_object_is_not_looked_into() -> None:
    place = Branch()
    place.add({"a": {"_target_": "x.y", "_recursive_": False, "b": {"_target_": "p.q"}}})
    inner = place.find(("a", "b"))
    assert inner is not None
    assert inner.targets == set()


def test_a_target_that_is_computed_is_not_known() -> None:
    place = Branch()
    place.add({"_target_": "${x}"})
    assert (place.targets, place.plain) == (set(), True)


def test_names_are_read_from_files_that_no_config_uses(tmp_path: Path) -> None:
    named = Named()
    for number, text in enumerate(["a: [{_target_: x.y}]", "_symbol_: p.q", "_target_: ${x}", "_target_: 3", "a: ["]):
        file = tmp_path / f"{number}.yaml"
        file.write_text(text)
        named.read(str(file))
    named.read(str(tmp_path / "nosuch.yaml"))
    assert (named.targets, named.symbols, named.open_ended) == ({"x.y"}, {"p.q"}, False)


def test_a_place_holds_every_choice_that_may_be_put_there(project: Path) -> None:
    (project / "configs" / "size" / "huge.yaml").write_text("_target_: big.Model\nwide: 1\n")
    (project / "configs" / "there.yaml").write_text("defaults: [{/size@inner.place: small}]\n")
    found = seen(find_project(str(project)))
    for path in (("size",), ("inner", "place")):
        place = found.root.find(path)
        assert place is not None
        assert place.targets == {"builtins.dict", "big.Model"}
        assert {"dim", "wide"} <= set(place.children)
    assert found.packages["size"] == ("size",)
    assert found.groups["size"] == ("huge", "large", "small")
    assert set(found.configs) == {"tiny", "other", "there"}
    assert "mode" not in found.rules, "one config has no such flag"


def test_what_does_not_compose_is_passed_over(project: Path) -> None:
    (project / "configs" / "broken.yaml").write_text("defaults: [nosuch]\n")
    found = seen(find_project(str(project)))
    assert "broken" in found.configs
    assert "mode" in found.rules
