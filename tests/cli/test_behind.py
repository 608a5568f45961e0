from __future__ import annotations

from pathlib import Path

import pytest

from forge.api.project import open_project
from forge.base.places import chat_templates, library_configs
from forge.cli.behind import OWN, files_behind


@pytest.fixture
def shared(project: Path) -> Path:
    """A second project, on which the first stands, and a template of the first one's own."""
    other = project.parent / "common" / "configs" / "rate"
    other.mkdir(parents=True)
    (project.parent / "common" / "project.yaml").write_text("name: common\n")
    (other / "slow.yaml").write_text("lr: 1\n")
    (project / "project.yaml").write_text("name: demo\nsearch_path: [common]\n")
    (project / "own.jinja").write_text("{{ messages }}\n")
    (project / "configs" / "tuned.yaml").write_text(
        "defaults: [tiny, {rate: slow}, {/tokenizer: bpe}, _self_]\n"
        "tokenizer: {chat_template: llama3}\nother: {chat_template: '${tokenizer.chat_template}', made: own.jinja}\n"
        "more: {chat_template: nosuch, x: null, chat_template_kwargs: [chatml]}\n"
    )
    return project


def test_the_files_are_grouped_the_configs_own_first(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shared)
    found = files_behind(open_project(shared).config("tuned"))
    assert [(one.group, one.name) for one in found] == [
        (OWN, "configs/tuned.yaml"),
        (OWN, "configs/tiny.yaml"),
        (OWN, "configs/size/small.yaml"),
        ("other projects", "rate/slow.yaml"),
        ("library", "tokenizer/bpe.yaml"),
        ("chat templates", "llama3.jinja"),
        ("chat templates", "own.jinja"),
    ]
    paths = [Path(one.path) for one in found]
    assert all(path.is_file() for path in paths)
    assert paths[4:] == [
        Path(library_configs()) / "tokenizer" / "bpe.yaml",
        Path(chat_templates()) / "llama3.jinja",
        shared / "own.jinja",
    ]


def test_a_choice_of_the_users_own_folder_has_its_group(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = project.parent / "config-home"
    (home / "configs" / "rate").mkdir(parents=True)
    (home / "configs" / "rate" / "mine.yaml").write_text("lr: 1\n")
    monkeypatch.setenv("FORGE_CONFIG_HOME", str(home))
    (project / "configs" / "tuned.yaml").write_text("defaults: [{rate: mine}, _self_]\n")
    found = files_behind(open_project(project).config("tuned"))
    assert [(one.group, one.name) for one in found][1:] == [("your own library", "rate/mine.yaml")]
