from __future__ import annotations

import io
import math
import os
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from omegaconf.errors import GrammarParseError

from forge.base.errors import ConfigError, ConfigLimitError, ConfigSyntaxError
from forge.compose.document import MAX_DEPTH, MAX_VALUES, ConfigList, ConfigMap, Document, parse_document

FULL = bool(os.environ.get("FORGE_FULL"))

FILE = "/configs/x.yaml"


def parse(text: str | bytes) -> Document:
    return parse_document(text.encode() if isinstance(text, str) else text, FILE, "project")


def tree(text: str | bytes) -> Any:
    return parse(text).tree


def same(one: Any, two: Any) -> bool:
    if isinstance(one, dict) and isinstance(two, dict):
        return list(one) == list(two) and all(same(one[key], two[key]) for key in one)
    if isinstance(one, list) and isinstance(two, list):
        return len(one) == len(two) and all(map(same, one, two))
    if isinstance(one, float) and isinstance(two, float) and math.isnan(one):
        return math.isnan(two)
    return type(one) is type(two) and one == two


def omegaconfs(text: str) -> Any:
    return OmegaConf.to_container(OmegaConf.load(io.StringIO(text)))


# ---- values

SCALARS = """
0 1 -1 +1 00 007 017 -017 08 09 0o17 0x1f 0xFF -0x1f 0x_f 0b101 -0b11 0b2 0xg 1_000 1__0 1_ _1 -1_0 0_1 0x1_f
190:20:30 1:60 1:59 -1:2:3 1:2.5 1:2:3.5 12:30:45 0:0 :1
1.0 1. .5 -.5 +.5 1.5e3 1.5e+3 1.5e-3 1e3 1e+3 1e-3 1E5 -1e-3 +1e5 1_0e3 1_0.5 1_0.5_0e+2 .5e3 .5e+3 1.e+3 1.e3 . .. -. +. e5 1e 1e+
.1_0 1_.0 ._1 0.1e1_0 --1 +-1 1-1 0x 0b 1.2.3 1e3e4 1e400 -1e400 1e-400
.inf -.inf +.inf .Inf .INF .iNF inf -inf nan .nan .NaN .NAN .Nan +.nan
yes no on off Yes No On Off YES NO ON OFF yEs y n Y N true false True False TRUE FALSE tRue
~ null Null NULL nUll none None ~~ ''
2020-01-01 2020-1-1 2001-12-14t21:59:43.10-05:00 2001-12-15T02:59:43Z 10:30
a a.b a/b a-b -a ?a :a a:b a#b <<x =x $x ${x} ${x:y} http://x.y/z 12e03x 1٣ ٣ ٣e3 1٣e5 é 日本 😀
"1" '1' "yes" "null" 'a''b' "a\\nb" "\\u00e9" "\\x41" "" '~'
!!str 12 !!str yes !!str ~ !!int 12 !!int "12" !!int 0x1f !!int 1_0 !!float 1 !!float 1.5 !!float .inf !!float "1e3" !!bool yes !!bool off
!!null ~ !!null "" ! 12 ! yes
""".splitlines()
FORMS = [form for line in SCALARS for form in (line.split(" ") if "!" not in line else [])] + [
    form.strip()
    for line in SCALARS
    if "!" in line
    for form in line.replace("!!", "\0!!").replace(" ! ", " \0! ").split("\0")
]


@pytest.mark.parametrize("form", sorted({form for form in FORMS if form}))
def test_a_scalar_has_the_value_omegaconf_gives_it(form: str) -> None:
    for text in (f"a: {form}\n", f"- {form}\n", f"a: [{form}]\n", f"a: {{b: {form} }}\n"):
        try:
            wanted = omegaconfs(text)
        except (yaml.YAMLError, ValueError) as error:
            with pytest.raises(ConfigSyntaxError):
                pytest.fail(f"{text!r} gives {tree(text)}, but OmegaConf: {error}")
            continue
        assert same(tree(text), wanted), (text, tree(text), wanted)


@pytest.mark.parametrize(
    "form", ["0x_", "0b_", "+0x__", "1" * 5000, "0x" + "f" * 5000, "1" + ":59" * 3000, "!!int ''", "!!float ''"]
)
def test_a_number_that_python_cannot_read_is_a_mistake_with_a_line(form: str) -> None:
    with pytest.raises(ConfigSyntaxError, match=r"x\.yaml:2"):
        tree(f"x: 1\na: {form}\n")


@pytest.mark.parametrize(
    "key", ["1", "1.5", "true", "0x10", "'1'", "yes", ".inf", "a b", "'a: b'", "=", "2020-01-01", "é", '"\\t"']
)
def test_a_key_has_the_value_omegaconf_gives_it(key: str) -> None:
    text = f"{key}: 1\n"
    try:
        wanted = omegaconfs(text)
    except yaml.YAMLError:
        wanted = {"=": 1}  # PyYAML knows `=` and has no value for it
    assert same(tree(text), wanted)


REFUSED_ON_PURPOSE = ("tag", "document", "empty", "key must", "stands twice")
plain_texts = st.text(alphabet=st.sampled_from("0123456789_:.+-eExabfinotyslruk~=<>&*|%@`#'\"{}[], \n\t$é"), max_size=8)


@settings(max_examples=600 if FULL else 150, deadline=None)
@given(plain_texts)
@example("<<: {b: 1}")
@example("1:1_0")
def test_any_short_text_has_omegaconfs_value_or_both_refuse_it(text: str) -> None:
    text = f"a: {text}\n"
    try:
        wanted = omegaconfs(text)
    except Exception as error:  # noqa: BLE001 - OmegaConf raises many kinds
        if "tag:yaml.org,2002:value" in str(error) or "tag:yaml.org,2002:merge" in str(error):
            return  # PyYAML knows `=` and a lone `<<` and has no value for them; here they are texts
        if isinstance(error, GrammarParseError):
            return  # an interpolation is parsed when it is needed, see test_interpolation.py
        if isinstance(error, (yaml.scanner.ScannerError, yaml.parser.ParserError)):
            return  # libyaml, which reads here, takes some blanks and colons that PyYAML's own scanner refuses
        with pytest.raises(ConfigError):
            pytest.fail(f"{text!r} gives {tree(text)}, but OmegaConf: {error}")
        return
    try:
        found = tree(text)
    except ConfigSyntaxError as error:
        # Tags, documents and empty keys that OmegaConf lets pass are refused on purpose.
        if not any(word in error.what for word in REFUSED_ON_PURPOSE):
            raise
        return
    assert same(found, wanted), (text, found, wanted)


values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(alphabet=st.characters(exclude_categories=["Cs", "Cc"]), max_size=20),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(
            st.one_of(st.text(alphabet="ab_é.: -1", min_size=1, max_size=5), st.integers(0, 50)), inner, max_size=4
        ),
    ),
    max_leaves=20,
)


@settings(max_examples=300 if FULL else 100, deadline=None)
@given(
    data=st.dictionaries(st.text(alphabet="abcxyz", min_size=1, max_size=4), values, max_size=5),
    flow=st.sampled_from([None, True, False]),
)
def test_dumped_data_comes_back(data: dict[str, Any], flow: bool | None) -> None:  # noqa: FBT001 - drawn, not passed by people
    data.pop("defaults", None)
    text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True, default_flow_style=flow)
    wanted = omegaconfs(text)
    assert same(tree(text), wanted)


@pytest.mark.parametrize(
    "text", ["", "\n\n", "# nothing\n", "---\n", "---\n...\n", "null", "~", "\ufeff", "---\n# x\n"]
)
def test_an_empty_file_is_an_empty_mapping(text: str) -> None:
    assert tree(text) == {}
    assert isinstance(tree(text), ConfigMap)


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_line_endings_and_a_byte_order_mark_change_neither_values_nor_places(ending: str, mark: str) -> None:
    found = tree(mark + ending.join(["a: 1", "b:", "  c: |", "    x", "    y", "  d: [1,", "   2]", ""]))
    assert found == {"a": 1, "b": {"c": "x\ny\n", "d": [1, 2]}}
    assert found["b"].settings["d"].origin[1:3] == (6, 3)
    assert found["b"]["d"].settings[1].origin[1:3] == (7, 4)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf_16_with_its_mark_is_read(encoding: str) -> None:
    assert tree("\ufeffa: é\n".encode(encoding)) == {"a": "é"}


@pytest.mark.parametrize(
    "data", [b"a: \xff\xfe", b"a: \x00", b"\xff", b"a: \xc3", b"a: \x1b[31m", b"\x80\x81", b"a: \xed\xa0\x80"]
)
def test_bytes_that_are_no_text_are_a_mistake(data: bytes) -> None:
    with pytest.raises(ConfigSyntaxError, match=r"x\.yaml"):
        tree(data)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: [1\nb: 2\n", 2),
        ("a: 1\n b: 2\n", 2),
        ("a: 1\n\tb: 2\n", 2),
        ("x: 1\na: @b\n", 2),
        ("x: 1\na: `b`\n", 2),
        ("x: 1\na: %b\n", 2),
        ("x: 1\ny: 2\na: 'open\n", 3),
        ("x: 1\n: 2\n", 2),
        ("x: 1\n~: 2\n", 2),
        ("x: 1\n[a]: 2\n", 2),
        ("x: 1\n{a: 1}: 2\n", 2),
        ("x: 1\nx: 2\n", 2),
        ("x: 1\ny: {a: 1, b: 2, a: 3}\n", 2),
        ("x: 1\ny: *gone\n", 2),
        ("x: 1\ny: &a [*a]\n", 2),
        ("x: &a 1\ny: &a 2\n", 2),
        ("x: &a\n  y: &a 2\n", 1),
        ("x: 1\n<<: 3\n", 2),
        ("x: 1\n<<: [{a: 1}, 3]\n", 2),
        ("x: 1\ndefaults: a\n", 2),
        ("x: 1\ndefaults: {a: 1}\n", 2),
        ("x: 1\ny: !!int x\n", 2),
        ("just text", 1),
        ("12", 1),
    ],
)
def test_a_mistake_names_its_line(text: str, line: int) -> None:
    with pytest.raises(ConfigSyntaxError) as caught:
        tree(text)
    assert caught.value.origin is not None
    assert abs(caught.value.origin.line - line) <= ("open" in text), str(caught.value)
    assert len(str(caught.value).splitlines()) <= 3


def test_two_documents_are_refused() -> None:
    with pytest.raises(ConfigSyntaxError, match="more than one YAML document"):
        tree("a: 1\n---\nb: 2\n")


# ---- anchors, aliases, merges

MERGES = [
    "a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\n",
    "a: &a {x: 1, y: 2}\nb: {y: 3, <<: *a}\n",
    "a: &a {x: 1}\nb: &b {x: 2, z: 3}\nc: {<<: [*a, *b]}\n",
    "a: &a {x: 1}\nb: &b {x: 2, z: 3}\nc: {<<: [*b, *a], z: 0}\n",
    "a: &a {x: 1}\nb: &b {<<: *a, z: 3}\nc: {<<: *b}\n",
    "a: &a {x: 1}\nb: &b {x: 2}\nc: {<<: *a, <<: *b}\n",
    "a: &a {x: {y: 1}}\nb: {<<: *a, x: {z: 1}}\n",
    "a: {<<: {}}\n",
    "a: {<<: []}\n",
    "<<: {a: 1}\nb: 2\n",
    "a: &a [1, 2]\nb: *a\nc: [*a, *a]\n",
    "a: &a 1\nb: *a\nc: {*a : 2}\n",
    "a: &a\nb: *a\n",
]


@pytest.mark.parametrize("text", MERGES)
def test_merges_and_aliases_are_omegaconfs(text: str) -> None:
    assert same(tree(text), omegaconfs(text)), (tree(text), omegaconfs(text))


@pytest.mark.parametrize("text", ["a: <<\n", "a: [<<]\n", "a: {b: <<}\n", "a: &x <<\nb: *x\n"])
def test_a_merge_mark_that_is_no_key_is_text(text: str) -> None:
    found = str(tree(text))
    assert "'<<'" in found
    assert "object" not in found


def test_what_a_merge_brings_in_keeps_the_place_it_was_written_in() -> None:
    found = tree("a: &a\n  x: 1\n  y: 2\nb:\n  <<: *a\n  y: 3\n")
    assert found["b"].settings["x"].origin.line == 2
    assert found["b"].settings["y"].origin.line == 6


# ---- places


@st.composite
def documents(draw: st.DrawFn) -> tuple[str, dict[tuple[Any, ...], tuple[int, int]]]:  # noqa: C901 - one grammar, written down in one place
    """A document in block style, and the line and column of each of its keys and items."""
    lines: list[str] = []
    places: dict[tuple[Any, ...], tuple[int, int]] = {}

    def filler() -> None:
        for _ in range(draw(st.integers(0, 2))):
            lines.append(draw(st.sampled_from(["", "# é comment", "   # deep comment"])))

    def value(path: tuple[Any, ...], indent: int, depth: int) -> None:
        kind = draw(
            st.sampled_from(["scalar", "scalar", "text", "block", "map", "list", "flow"] if depth < 3 else ["scalar"])
        )
        if kind == "scalar":
            lines[-1] += (
                " "
                + draw(st.sampled_from(["1", "é", "'x'", "null", "", "1e-3", "${a.b}"]))
                + draw(st.sampled_from(["", "  # note"]))
            )
        elif kind == "text":
            lines[-1] += ' "two'
            lines.append(" " * (indent + 3) + 'lines"')
        elif kind == "block":
            lines[-1] += draw(st.sampled_from([" |", " >-", " |+"]))
            lines.extend(" " * (indent + 2) + word for word in ("a: 1", "- b", ""))
        elif kind == "flow":
            lines[-1] += " [é, {k: 1},"
            line = lines[-1]
            places[(*path, 0)] = (len(lines), line.rindex("é, {") + 1)
            places[(*path, 1)] = (len(lines), line.rindex("{k") + 1)
            places[(*path, 1, "k")] = (len(lines), line.rindex("k: ") + 1)
            lines.append(" " * (indent + 2) + "2]")
            places[(*path, 2)] = (len(lines), indent + 3)
        else:
            filler()
            container(path, indent + draw(st.integers(1, 3)), depth + 1, kind)

    def container(path: tuple[Any, ...], indent: int, depth: int, kind: str) -> None:
        names = draw(
            st.lists(
                st.sampled_from(["a", "é", "k 1", "'q'", '"w: x"', "long_key"]), min_size=1, max_size=3, unique=True
            )
        )
        for index, name in enumerate(names):
            filler()
            key: Any = index if kind == "list" else name.strip("'\"")
            places[(*path, key)] = (len(lines) + 1, indent + 1 + (2 if kind == "list" else 0))
            lines.append(" " * indent + ("-" if kind == "list" else name + ":"))
            if kind == "list":
                lines[-1] += " x"  # items that are containers are drawn in flow style
            else:
                value((*path, key), indent, depth)

    container((), 0, 0, "map")
    return "\n".join(lines) + "\n", places


@settings(max_examples=300 if FULL else 100, deadline=None)
@given(documents())
def test_each_key_and_item_knows_its_line_and_column(drawn: tuple[str, dict[tuple[Any, ...], tuple[int, int]]]) -> None:
    text, places = drawn
    found = tree(text)
    for path, place in places.items():
        parent = found
        for key in path[:-1]:
            parent = parent[key]
        origin = parent.settings[path[-1]].origin
        assert (origin.line, origin.column) == place, (text, path)
        assert (origin.file, origin.layer) == (FILE, "project")


def test_settings_hold_the_very_values() -> None:
    found = tree("a: {b: [1, {c: 2}]}\n")
    assert found.settings["a"].value is found["a"]
    assert found["a"]["b"].settings[1].value is found["a"]["b"][1]
    assert isinstance(found["a"]["b"], ConfigList)


# ---- the header and the defaults list


@pytest.mark.parametrize(
    ("text", "package"),
    [
        ("# @package a.b\nx: 1\n", "a.b"),
        ("\n\n# @package _global_\n", "_global_"),
        ("#@package a\n", "a"),
        ("#   @package   a\n", "a"),
        ("# note\n# @package a\n", None),
        ("x: 1\n# @package a\n", None),
        ("# @other a\n# @package b\n", "b"),
        ("", None),
        ("# @package a\r\nx: 1\r\n", "a"),
    ],
)
def test_the_header_is_where_hydra_looks_for_it(text: str, package: str | None) -> None:
    assert parse(text).package == package


def test_an_unreadable_header_is_a_mistake() -> None:
    with pytest.raises(ConfigSyntaxError, match=r"x\.yaml:1.*\n.*# @package a\.b"):
        parse("# @package a b\n")


def test_the_defaults_list_is_taken_out() -> None:
    document = parse("defaults:\n- _self_\n- db: a\nx: 1\n")
    assert document.defaults == ["_self_", {"db": "a"}]
    assert document.tree == {"x": 1}
    assert document.defaults.settings[1].origin.line == 3
    assert "defaults" not in document.tree.settings


# ---- limits (their cost is measured in tests/hostile/test_yaml.py)


def test_nesting_up_to_the_limit_is_read_and_not_beyond() -> None:
    assert tree("[" * MAX_DEPTH + "]" * MAX_DEPTH) is not None
    with pytest.raises(ConfigLimitError, match="nested"):
        tree("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1))


def test_values_up_to_the_limit_are_read_and_not_beyond() -> None:
    assert len(tree("[" + "1," * (MAX_VALUES - 1) + "]")) == MAX_VALUES - 1
    with pytest.raises(ConfigLimitError, match="values"):
        tree("[" + "1," * MAX_VALUES + "]")


def test_an_alias_inside_of_what_it_stands_for_says_so() -> None:
    with pytest.raises(ConfigSyntaxError, match=r"what the anchor '?&x'? stands at contains itself"):
        parse_document(b"a: &x [*x]", "a.yaml", "primary")


def test_a_file_in_another_encoding_has_its_place_and_remedy() -> None:
    with pytest.raises(ConfigSyntaxError, match="0xe9") as raised:
        parse_document("a: 1\nb: caf\u00e9\n".encode("latin-1"), "a.yaml", "primary")
    assert raised.value.origin is not None
    assert (raised.value.origin.line, raised.value.origin.column) == (2, 7)
    assert raised.value.hint == "save the file as UTF-8"
