from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from forge.base.errors import ConfigLimitError, InterpolationError
from forge.compose.cache import compose
from forge.compose.project import find_project
from forge.compose.resolved import resolved

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Any, TypeAlias

    Resolve: TypeAlias = Callable[[str], Any]


@pytest.fixture
def resolve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], dict[str, object]]:
    monkeypatch.setenv("FORGE_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("FORGE_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").mkdir()
    (tmp_path / "project.yaml").write_text("name: demo\n")

    def run(text: str) -> dict[str, object]:
        (tmp_path / "configs" / "top.yaml").write_text(text)
        return resolved(compose(find_project(str(tmp_path)), "top"))

    return run


def test_values_mappings_and_texts_are_put_in(resolve: Resolve) -> None:
    tree = resolve("a: {b: 1, c: [2, 3]}\nx: ${a.b}\ny: n-${a.b}\nz: ${a}\nw: ${a.c[1]}\n")
    assert tree == {"a": {"b": 1, "c": [2, 3]}, "x": 1, "y": "n-1", "z": {"b": 1, "c": [2, 3]}, "w": 3}


def test_a_reference_inside_what_is_referred_to_keeps_its_own_place(resolve: Resolve) -> None:
    assert resolve("a: {b: 1, c: '${.b}'}\nx: {b: 2, y: '${a}'}\n")["x"] == {"b": 2, "y": {"b": 1, "c": 1}}


def test_a_reference_to_an_object_stays(resolve: Resolve) -> None:
    tree = resolve("m: {_target_: builtins.dict}\nt: {m: '${m}'}\nh: {inner: '${t}'}\n")
    assert tree["t"] == {"m": "${m}"}


def test_a_missing_value_stays_missing(resolve: Resolve) -> None:
    assert resolve("a: ???\nb: ${a}\n")["b"] == "???"


@pytest.mark.parametrize(
    "text",
    [
        "${a.api_key}",
        "x${a.api_key}",
        "${c}",
        "y${c}",
        "${oc.select:a.api_key}",
        "${oc.create:${a}}",
        "${oc.decode:${c}}",
    ],
)
def test_a_secret_is_masked_under_every_name(resolve: Resolve, text: str) -> None:
    tree = resolve(f"a: {{api_key: hunter2, n: 1}}\nb: {text}\nc: v${{a.api_key}}\nd: ${{a.n}}\n")
    assert "hunter2" not in str([tree["b"], tree["c"]])
    assert tree["d"] == 1


def test_where_values_come_from_is_kept(resolve: Resolve) -> None:
    assert resolve("a: 1\nb: ${a}\n").settings["b"].origin.line == 2


@pytest.mark.parametrize("text", ["a: ${nosuch}\n", "a: {b: '${a}'}\n", "a: x${b}\nb: y${a}\n"])
def test_what_leads_nowhere_names_its_line(resolve: Resolve, text: str) -> None:
    with pytest.raises(InterpolationError) as caught:
        resolve(text)
    assert "configs/top.yaml:" in str(caught.value)


def test_references_that_double_at_every_step_are_refused(resolve: Resolve) -> None:
    lines = ["a0: [x, x]"] + [f"a{n}: ['${{a{n - 1}}}', '${{a{n - 1}}}']" for n in range(1, 40)]
    with pytest.raises(ConfigLimitError):
        resolve("\n".join(lines))
