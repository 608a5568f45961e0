from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from forge.base.errors import UsageError
from forge.compose.cache import compose
from forge.compose.project import find_project
from forge.render.why import why

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import TypeAlias

    from forge.render.why import Reason

    Ask: TypeAlias = Callable[..., Reason]

FILES = {
    "project.yaml": "name: demo\ngroups: [opt]\n",
    "configs/top.yaml": """\
defaults: [{opt: sgd}, _self_]
args: {lr: {key: opt.lr, type: float}}
opt: {lr: 0.2}
trainer: {opt: "${opt}", title: "lr ${opt.lr}", api_key: abc}
""",
    "configs/opt/sgd.yaml": "lr: 0.1\nbetas: [1, 2]\n",
}


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Reason]:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setenv("FORGE_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("FORGE_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    return lambda key, *overrides: why(compose(find_project(str(tmp_path)), "top", overrides), key)


def test_every_layer_is_told_oldest_first(ask: Ask) -> None:
    assert str(ask("opt.lr", "opt.lr=0.3", ("++opt.lr=0.4", "--lr 0.4"))).splitlines() == [
        "opt.lr = 0.4",
        "  configs/opt/sgd.yaml:1  project   0.1",
        "  configs/top.yaml:3      project   0.1 → 0.2",
        "  override 'opt.lr=0.3'   override  0.2 → 0.3",
        "  flag '--lr 0.4'         flag      0.3 → 0.4",
    ]


def test_a_reference_is_followed_on_the_way_and_at_the_end(ask: Ask) -> None:
    assert ask("trainer.opt.lr").key == "opt.lr"
    reason = ask("trainer.opt")
    assert reason.refers is not None
    assert (reason.key, reason.refers.key) == ("trainer.opt", "opt")


def test_a_list_item_has_its_place(ask: Ask) -> None:
    assert ask("opt.betas[1]").steps[0].origin.line == 2
    assert ask("opt.betas.1").steps[0].value == 2


def test_a_secret_is_masked_also_in_the_override_that_set_it(ask: Ask) -> None:
    shown = str(ask("trainer.api_key", "trainer.api_key=hunter2")) + str(
        ask("trainer.api_key", "trainer.api_key=hunter2").data()
    )
    assert "hunter2" not in shown
    assert "abc" not in shown


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("lr", "did you mean 'opt.lr'?"),
        ("opt.lrr", "did you mean 'opt.lr'?"),
        ("a..", "write it like"),
        ("", "forge show"),
    ],
)
def test_a_key_that_is_not_there_is_answered_with_the_nearest(ask: Ask, key: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        ask(key)
    assert hint in str(caught.value)
