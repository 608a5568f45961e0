from __future__ import annotations

import os
import random
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from forge.base.errors import ForgeError, OverrideError, UsageError
from forge.compose.composer import compose_fresh
from forge.compose.lookups import Lookups
from forge.compose.project import Project, Root, find_project
from forge.compose.quote import spellable
from forge.render.saved import saved

sys.path.insert(0, str(Path(__file__).parents[1] / "compose"))
from hydra_oracle import CHOICES, GROUPS, trees, write_tree

if TYPE_CHECKING:
    from collections.abc import Iterator

    from forge.compose.composed import Composed

ROOT = Path(__file__).parents[2]
FULL = bool(os.environ.get("FORGE_FULL"))
VALUES = (
    *(
        "1",
        "null",
        "true",
        "1e-3",
        "abc",
        "'a b'",
        "[1,2]",
        "{x:1}",
        "${a.b}",
        "'1e-3'",
        "'yes'",
        "'???'",
        "???",
        "inf",
    ),
    *("-.5", "'é 日本'", "'#x'", "'- a'", "{x:{y:[1]}}", "''", "'a: b # c'", "[{a:1},'x: y']", "'line\nbreak'"),
    *("'it\\'s'", "'tab\tand \"quotes\"'"),
)
FILES = {
    "tiny.yaml": "defaults: [{db: a}, {srv@pkg: a}, _self_]\nmeta: {name: Tiny, kind: test}\nlist: [1, {x: 2}, 3]\n"
    "map: {x: 1, y: {z: 2}}\nref: ${map}\nopen: ???\nitems: {_list_: true, one: {a: 1}, two: {a: 2}}\n",
    "sub/deep.yaml": "# @package _global_\ndefaults: [/db: a, _self_]\nvalue: 1\n",
    "sub/odd.yaml": "value: 1\n",
    "db/a.yaml": "name: a\nport: 1\n",
    "db/b.yaml": "name: b\nport: 2\n",
    "srv/a.yaml": "size: 1\n",
    "srv/b.yaml": "size: 2\n",
}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    write_tree(tmp_path / "configs", FILES)
    return project_of(tmp_path)


def project_of(folder: Path) -> Project:
    return Project("demo", "", str(folder), None, (Root(str(folder / "configs"), "project"),), ())


def recomposed(project: Project, name: str, text: str) -> Composed:
    """What the text composes to, by writing it for a moment as a user would have it."""
    path = Path(project.config_folder) / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    try:
        return compose_fresh(project, name)
    finally:
        path.unlink()


def plain(composed: Composed) -> Any:
    """The values as a comparison can take them: nan is itself, 1 is not True, and who the file says it is does not count."""
    tree = dict(composed.tree)
    meta = {key: value for key, value in (tree.pop("meta", None) or {}).items() if key not in {"name", "description"}}
    return typed({**tree, **({"meta": meta} if meta else {})})


def typed(value: Any) -> Any:
    if isinstance(value, dict):
        gone = value.get("_list_") is True
        return {key: typed(item) for key, item in value.items() if not (gone and item is None)}
    return [typed(item) for item in value] if isinstance(value, list) else (type(value).__name__, repr(value))


def chosen(composed: Composed) -> dict[str, Any]:
    return {group: choice for group, choice in composed.choices.items() if choice is not None}


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["map.x=2"],
        ["db=b"],
        ["db=b", "db.port=7"],
        ["srv@pkg=b", "pkg.size=9"],
        ["+srv@other=b"],
        ["+db@pkg.inner=b", "pkg.inner.port=5"],
        ["~db"],
        ["~srv@pkg=a"],
        ["list=[4]"],
        ["list.1.x=5"],
        ["list.0=5", "list.2={a:[b]}"],
        ["map={x:3,y:{z:4}}", "map.y.z=5"],
        ["+map.new='a: b # c'", "++map.deep.er=[null,'null',1e-3,'1e-3']"],
        ["+fresh=1", "~fresh"],
        ["ref=1"],
        ["map.x=${list.0}", "+text='${map.x}-${map.y.z}'"],
        ["items.one.a=3", "+items.three={a:4}", "~items.two"],
        ["items.two=null"],
        ["open=1"],
        ["++meta.kind=other", "++meta.description='own words'"],
        ["map.y=null", "map.x='yes'", "+empty={}", "+none=[]"],
        ["+line='a\nb\n'", "+quote='it\\'s \"so\"'", "+letters='é 日本 \t'"],
        ["+on.key_1=1", "+n={1:2,true:3}"],
    ],
    ids=" ".join,
)
def test_what_is_saved_composes_to_what_was_overridden(project: Project, overrides: list[str]) -> None:
    wanted = compose_fresh(project, "tiny", overrides)
    for name in ("longer", "folder/longer"):
        made = recomposed(project, name, saved(project, "tiny", overrides, name))
        assert plain(made) == plain(wanted)
        assert chosen(made) == chosen(wanted)


@pytest.mark.parametrize("base", ["sub/deep", "sub/odd"])
def test_a_config_in_a_folder_is_stood_on_as_well(project: Project, base: str) -> None:
    overrides = ["value=2", "+more=3"] if base == "sub/deep" else ["sub.value=2"]
    wanted = compose_fresh(project, base, overrides)
    assert plain(recomposed(project, "new/one", saved(project, base, overrides, "new/one"))) == plain(wanted)


def test_the_file_reads_as_one_that_a_person_wrote(project: Project) -> None:
    overrides = ["db=b", "+srv@other=b", "map.x=2", ("++map.deep.z=3", "--depth 3")]
    assert saved(project, "tiny", overrides, "exp/longer_run") == (
        "# @package _global_\n"
        "defaults:\n"
        "  - /tiny\n"
        "  - /srv@other: b\n"
        "  - override /db: b\n"
        "  - _self_\n\n"
        "meta:\n"
        "  name: Longer run\n"
        "  description: tiny with db=b, +srv@other=b, map.x=2, --depth 3.\n\n"
        "map:\n  x: 2\n  deep:\n    z: 3\n"
    )


def test_a_description_ends_at_the_end_of_a_word(project: Project) -> None:
    many = [f"++map.more{number}={'x' * 40}" for number in range(8)]
    text = " ".join(saved(project, "tiny", many, "longer").partition("\n\nmap:")[0].split())
    assert f"++map.more2={'x' * 40} and 5 more." in text
    text = " ".join(saved(project, "tiny", [f"++map.more={'x' * 300}"], "longer").partition("\n\nmap:")[0].split())
    assert text.endswith("xxx ....")


def test_the_description_is_the_users_own(project: Project) -> None:
    text = saved(project, "tiny", [], "longer", description="Five: times\n# as long.")
    assert yaml.safe_load(text)["meta"] == {"name": "Longer", "description": "Five: times # as long."}
    assert "@package" not in text


@pytest.mark.parametrize(
    ("overrides", "key", "reason"),
    [
        (["map.x=2", "~map.y.z"], "~map.y.z", "not take it away"),
        (["db=b", "map.x=???"], "map.x=???", "leaves the value that is there"),
        (["ref={q:1}"], "ref={q:1}", "a mapping is laid over what is there"),
        (["~db.port"], "~db.port", "not take it away"),
        (["+api_key=abc"], "+api_key=********", "the value of a secret is not written"),
        (["+a={b:[{hf_token:abc}]}"], "+a=********", "the value of a secret is not written"),
    ],
)
def test_what_no_file_can_say_is_refused_with_its_override(
    project: Project, overrides: list[str], key: str, reason: str
) -> None:
    with pytest.raises(OverrideError, match=reason) as caught:
        saved(project, "tiny", overrides, "longer")
    assert caught.value.origin is not None
    assert caught.value.origin.text == key
    assert "abc" not in str(caught.value)


def test_a_secret_that_is_read_elsewhere_may_be_named(project: Project) -> None:
    text = saved(project, "tiny", ["+api_key=${map.x}", "+hf_token=null"], "longer")
    assert "api_key: ${map.x}" in text


def test_no_config_stands_on_itself(project: Project) -> None:
    for name in ("tiny", "db/a"):
        with pytest.raises(UsageError, match="cannot stand on it"):
            saved(project, "tiny", ["map.x=2"], name)


def test_a_letter_that_no_file_holds_is_refused(project: Project) -> None:
    with pytest.raises(ForgeError):
        saved(project, "tiny", ["+a='\udcff'"], "longer")


def test_a_mistake_in_an_override_is_the_composers_error(project: Project) -> None:
    with pytest.raises(OverrideError, match="has no key"):
        saved(project, "tiny", ["nosuch=1"], "longer")


def test_nothing_is_written_by_it(project: Project) -> None:
    before = sorted(Path(project.folder).rglob("*"))
    saved(project, "tiny", ["map.x=2"], "longer")
    assert sorted(Path(project.folder).rglob("*")) == before


# ---- any changes


def paths(tree: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    for key, value in tree.items():
        if spellable(key):
            yield (*above, key)
            if isinstance(value, dict):
                yield from paths(value, (*above, key))


def random_override(draw: random.Random, composed: Composed, groups: dict[str, list[str]]) -> str:
    if composed.choices and draw.random() < 0.3:
        group = draw.choice(sorted(composed.choices))
        choice = draw.choice(groups.get(group.partition("@")[0]) or ["a"])
        return draw.choice([f"{group}={choice}", f"{group}={choice}", f"~{group}", f"{group}=null"])
    if draw.random() < 0.1:
        group = draw.choice(sorted(groups))
        return f"+{group}@extra={draw.choice(groups[group])}"
    key = ".".join(map(str, draw.choice(sorted(paths(composed.tree), key=str) or [("a",)])))
    value = draw.choice(VALUES)
    return draw.choice(
        [f"{key}={value}"] * 3 + [f"++{key}={value}", f"+{key}.new={value}", f"+f.{key}={value}", f"~{key}"]
    )


def some_overrides(draw: random.Random, project: Project, base: str, groups: dict[str, list[str]]) -> list[str]:
    """Up to four that compose one after the other."""
    found: list[str] = []
    for _ in range(draw.randint(1, 4)):
        composed = compose_fresh(project, base, found)
        more = random_override(draw, composed, groups)
        try:
            compose_fresh(project, base, [*found, more])
        except ForgeError:
            continue
        found.append(more)
    return found


def assert_same_or_refused(project: Project, base: str, overrides: list[str], name: str) -> bool:
    try:
        text = saved(project, base, overrides, name)
    except OverrideError:
        return False
    wanted = compose_fresh(project, base, overrides)
    file = os.path.join(project.config_folder, f"{name}.yaml")
    made = compose_fresh(project, name, lookups=Lookups({file: text.encode()}))
    assert plain(made) == plain(wanted), text
    assert chosen(made) == chosen(wanted), text
    return True


@settings(max_examples=400 if FULL else 15, deadline=None, suppress_health_check=list(HealthCheck))
@given(draw=st.randoms(use_true_random=False))
def test_any_change_of_a_shipped_config_is_saved_or_refused(draw: random.Random) -> None:
    project = find_project(str(ROOT / "projects" / "pydoc"))
    base = draw.choice([config.name for config in project.configs()])
    overrides = some_overrides(draw, project, base, project.groups())
    name = draw.choice(["saved-by-a-test", "saved-by/a-test"])
    event("saved" if assert_same_or_refused(project, base, overrides, name) else "refused")


def test_most_changes_of_a_shipped_config_can_be_saved() -> None:
    project = find_project(str(ROOT / "projects" / "pydoc"))
    groups = project.groups()
    draw = random.Random(4)
    drawn = [some_overrides(draw, project, "chat/full", groups) for _ in range(12)]
    kept = [overrides for overrides in drawn if not any(one[0] == "~" or "???" in one for one in overrides)]
    done = [assert_same_or_refused(project, "chat/full", overrides, "saved") for overrides in kept]
    assert sum(done) > 0.8 * len(done) > 0


@settings(max_examples=1500 if FULL else 40, deadline=None, suppress_health_check=list(HealthCheck))
@given(files=trees(), draw=st.randoms(use_true_random=False))
def test_any_change_of_any_tree_is_saved_or_refused(files: dict[str, str], draw: random.Random) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        write_tree(Path(scratch) / "configs", files)
        project = project_of(Path(scratch))
        try:
            composed = compose_fresh(project, "config")
        except ForgeError:
            return
        if composed.tree:
            overrides = some_overrides(draw, project, "config", {group: list(CHOICES) for group in GROUPS})
            event("saved" if assert_same_or_refused(project, "config", overrides, "new/one") else "refused")
