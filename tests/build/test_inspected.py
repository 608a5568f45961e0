"""Depth 2: the real signatures, in another process, with the policy asked first."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

from forge.base.origin import Origin
from forge.base.trust import trust
from forge.build.inspected import check_imported, real_signature
from forge.graph.node import Call, Const, Edge, Graph, Map, Mode
from forge.graph.policy import default_policy

if TYPE_CHECKING:
    from pathlib import Path

POLICY = default_policy(["aviary"])


@pytest.fixture
def aviary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FORGE_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("FORGE_DATA_HOME", str(tmp_path / "data"))
    folder = tmp_path / "src"
    folder.mkdir()
    return folder


def graph(target: str, mode: Mode = "call", **kwargs: Any) -> Graph:
    edges = tuple(Edge(key, Const(("bird", key), value), Origin("/p/a.yaml", 5)) for key, value in kwargs.items())
    place = Origin("/p/a.yaml", 4)
    call = Call(("bird",), target, (), edges, mode, origin=place, target_origin=place)
    return Graph("train", Map((), (Edge("bird", call),)))


def said(source: str, folder: Path, one: Graph, *, trusted: bool = True) -> list[str]:
    (folder / "aviary.py").write_text(source)
    if trusted:
        trust(folder)
    return [str(finding) for finding in check_imported(one, POLICY, [str(folder)])]


def test_a_right_call_is_right(aviary: Path) -> None:
    assert said("def fly(far=1): ...\n", aviary, graph("aviary.fly", far=2)) == []
    assert "aviary" not in sys.modules


def test_a_signature_that_only_importing_shows_is_used(aviary: Path) -> None:
    source = "def make():\n    def fly(far): ...\n    return fly\nfly = make()\n"
    assert said(source, aviary, graph("aviary.fly", fra=2)) == [
        "/p/a.yaml:4: bird: fly needs the argument 'far', add far:, or write _partial_: true",
        "/p/a.yaml:5: bird.fra: fly has no argument 'fra', did you mean 'far'?",
    ]


def test_a_target_that_is_not_there_is_said_with_what_was_meant(aviary: Path) -> None:
    found = said("def flyer(): ...\n", aviary, graph("aviary.flyr"))
    assert found == ["/p/a.yaml:4: bird: aviary.flyr: aviary has no 'flyr', did you mean 'flyer'?"]


def test_a_refused_target_is_not_imported(aviary: Path) -> None:
    found = said("", aviary, graph("os.system", command="touch /tmp/never"))
    assert len(found) == 1
    assert "'os.system' is refused" in found[0]


def test_source_that_is_not_trusted_is_not_imported(aviary: Path, tmp_path: Path) -> None:
    mark = tmp_path / "imported"
    found = said(f"open({str(mark)!r}, 'w')\ndef fly(): ...\n", aviary, graph("aviary.fly"), trusted=False)
    assert len(found) == 1
    assert "trust" in found[0]
    assert not mark.exists()


def test_an_import_that_fails_is_said_at_its_line(aviary: Path) -> None:
    found = said("raise RuntimeError('no wings\\nat all')\n", aviary, graph("aviary.fly"))
    assert found == ["/p/a.yaml:4: bird: importing aviary.fly fails: RuntimeError: no wings"]


def test_what_an_import_prints_does_not_get_into_the_answer(aviary: Path) -> None:
    assert said("print('{}')\ndef fly(): ...\n", aviary, graph("aviary.fly")) == []


def test_a_file_in_the_current_folder_is_not_imported(
    aviary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    here = tmp_path / "here"
    here.mkdir()
    for name in ("json", "contextlib", "aviary"):
        (here / f"{name}.py").write_text("raise SystemExit('hijacked')\n")
    monkeypatch.chdir(here)
    assert said("def fly(): ...\n", aviary, graph("aviary.fly")) == []


def test_a_partial_call_may_lack_arguments(aviary: Path) -> None:
    assert said("def fly(far): ...\n", aviary, graph("aviary.fly", mode="partial")) == []


def test_a_graph_without_calls_starts_no_process() -> None:
    root = Map((), (Edge("a", Const(("a",), 1)),))
    assert check_imported(Graph("train", root), POLICY) == []


def test_what_compiled_code_says_of_itself_is_not_held_against_a_config() -> None:
    signature = real_signature(dict.fromkeys, "builtins.dict.fromkeys")
    assert signature is not None
    assert signature.var_keyword
    assert not any(parameter.required for parameter in signature.parameters)


def test_what_is_no_callable_has_no_signature() -> None:
    assert real_signature(3, "math.pi") is None


@pytest.mark.torch
def test_real_targets_are_bound_as_they_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    monkeypatch.setenv("FORGE_CACHE_HOME", str(tmp_path))
    found = check_imported(graph("torch.nn.Linear", in_features=2, out_feature=3), POLICY)
    assert [str(finding) for finding in found] == [
        "/p/a.yaml:4: bird: Linear needs the argument 'out_features', add out_features: (int), or write _partial_: true",
        "/p/a.yaml:5: bird.out_feature: Linear has no argument 'out_feature', did you mean 'out_features'?",
    ]
    # What transformers shows of its configs leaves out that they accept anything.
    assert check_imported(graph("transformers.LlamaConfig", rope_theta=1.0, hidden_size=8), POLICY) == []
