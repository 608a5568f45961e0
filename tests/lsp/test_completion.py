from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from forge.lsp.completion import completions_at

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Spot

    from forge.lsp.completion import Proposal
    from forge.lsp.desk import Desk

HEAD = "defaults: [tiny, {override size: large}, _self_]\n"


@pytest.fixture
def proposed(desk: Desk, demo: Path, spot: Callable[[str], Spot]) -> Callable[[str], dict[str, Proposal]]:
    def ask(text: str, name: str = "run.yaml") -> dict[str, Proposal]:
        path = str(demo / "configs" / name)
        desk.sheet(path)  # as it was when it was opened
        where = spot(text)
        desk.show(path, where.text)
        return {one.label: one for one in completions_at(desk, path, *where)}

    return ask


def test_choices_carry_the_comment_of_their_file(proposed: Callable[[str], dict[str, Proposal]]) -> None:
    for text in ("defaults:\n  - size: ‸\n", "defaults:\n  - override /size@a.b: ‸\n", "defaults: [{size: ‸}]"):
        found = proposed(text)
        assert list(found) == ["large", "small"]
        assert found["large"].documentation == "Twenty layers."


def test_a_line_of_the_defaults_list_may_be_a_group_or_a_file(proposed: Callable[[str], dict[str, Proposal]]) -> None:
    found = proposed("defaults:\n  - ‸\n")
    assert {"_self_", "/size", "/optimizer", "tiny", "other"} <= set(found)
    assert "run" not in found
    assert found["/size"].insert == "/size: "
    assert "override /size" in proposed("defaults:\n  - over‸\n")


def test_keys_are_the_parameters_that_are_not_given_yet(proposed: Callable[[str], dict[str, Proposal]]) -> None:
    found = proposed("runner:\n  _target_: demo_code.Runner\n  size: 1\n  ‸\n")
    assert {"mode", "deep", "_partial_"} <= set(found)
    assert not {"size", "_target_"} & set(found)
    assert found["deep"].detail == "deep: bool = False"
    assert found["deep"].insert == "deep: "
    assert proposed("runner:\n  _target_: demo_code.Runner\n  de‸: 1\n")["deep"].insert == "deep"
    assert list(proposed("runner: {_target_: demo_code.Runner, dee‸")) == ["deep"]


def test_keys_are_those_the_config_has_here(proposed: Callable[[str], dict[str, Proposal]]) -> None:
    assert proposed(HEAD + "trainer:\n  max‸\n")["max_steps"].detail == "100"
    found = proposed(HEAD + "‸\n")
    assert {"trainer", "size", "mode", "api_key"} <= set(found)
    assert found["api_key"].detail == ""


def test_values_are_those_that_a_type_or_a_flag_allows(proposed: Callable[[str], dict[str, Proposal]]) -> None:
    assert list(proposed("runner: {_target_: demo_code.Runner, mode: ‸}")) == ["fast", "slow"]
    assert list(proposed("runner: {_target_: demo_code.Runner, deep: ‸}")) == ["true", "false"]
    assert list(proposed("runner: {_partial_: ‸}")) == ["true", "false"]
    assert list(proposed(HEAD + "mode: ‸\n")) == ["fast", "slow"]
    assert list(proposed(HEAD + "quiet: ‸\n")) == ["true", "false"]


def test_targets_are_known_ones_and_the_projects_own_code(proposed: Callable[[str], dict[str, Proposal]]) -> None:
    assert "torch.optim.AdamW" in proposed("a: {_target_: adamw‸}")
    assert "demo_code.Runner" in proposed("a: {_target_: ‸}")
    assert "json.decoder" in proposed("a: {_target_: json.‸}")
    assert proposed("a: {_target_: nosuch_package.‸}") == {}


def test_references_go_one_step_at_a_time(proposed: Callable[[str], dict[str, Proposal]]) -> None:
    assert {"trainer", "size", "oc.env:"} <= set(proposed(HEAD + "a: ${‸}"))
    assert list(proposed(HEAD + "a: ${size.d‸")) == ["size.dim"]
    assert "trainer.size" in proposed(HEAD + "a: ${trainer.‸}")
    assert list(proposed(HEAD + "trainer:\n  x: ${.max‸}\n")) == [".max_steps"]
    assert proposed(HEAD + "a: ${nosuch.‸}") == {}
    assert all("hunter2" not in one.detail for one in proposed(HEAD + "a: ${‸}").values())


@pytest.mark.parametrize("text", ["# ‸", "a: 1 # ‸", "a: ‸", "a: [‸]"])
def test_there_may_be_nothing_to_propose(text: str, proposed: Callable[[str], dict[str, Proposal]]) -> None:
    assert proposed(text) == {}


def test_in_a_choice_names_are_looked_up_beside_it(demo: Path, proposed: Callable[..., dict[str, Proposal]]) -> None:
    (demo / "configs" / "size" / "_base.yaml").write_text("# Of all.\ndim: 1\n")
    found = proposed("defaults: [‸]\n", "size/small.yaml")
    assert found["_base"].documentation == "Of all."
    assert "dim" in proposed("defaults: [_base, _self_]\n‸\n", "size/small.yaml")
