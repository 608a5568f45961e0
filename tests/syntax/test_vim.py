"""Vim itself with the plugin: which files it takes for configs, where `gf` leads, how lines are indented."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    Edit = Callable[..., str]

ROOT = Path(__file__).parents[2]
PYDOC = ROOT / "projects" / "pydoc" / "configs"
LIBRARY = ROOT / "configs"


def ask(edit: Edit, folder: Path, commands: str) -> list[str]:
    """The lines that a script adds to ``g:said``."""
    script = folder / "script.vim"
    start = "filetype plugin indent on\nlet g:said = []\n"
    script.write_text(f"{start}{commands}\ncall writefile(g:said, '/dev/stdout')\nquitall!\n")
    return edit("-S", script).splitlines()


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return folder


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A project that stands on another one and on a folder, and files that are none of forge's."""
    return write(
        tmp_path,
        {
            "one/project.yaml": "name: one\nsearch_path:  # others\n  - two\n  - ./shared\n",
            "one/configs/run/a.yaml": "defaults:\n  - base\n  - nested/deep\n  - _self_\n",
            "one/configs/run/base.yaml": "x: 1\n",
            "one/configs/run/nested/deep.yaml": "x: 1\n",
            "one/configs/model/tiny.yaml": "_target_: one_code.models.Tiny\n",
            "one/src/one_code/models.py": "class Tiny: ...\n",
            "one/shared/model/tiny.yaml": "x: 1\n",
            "one/shared/model/big.yaml": "x: 1\n",
            "two/project.yaml": "name: two\nsearch_path: [one]\n",
            "two/configs/data/text.yaml": "x: 1\n",
            "other/deploy/pod.yaml": "kind: Pod\nargs: [a]\nmeta: {a: 1}\n",
            "other/deploy/ci.yaml": "defaults:\n  run:\n    shell: bash\n",
            "other/hydra.yaml": "seed: 1\ndefaults:\n  - db: mysql\n",
            "other/flow.yaml": "defaults: [a, b]\n",
            "other/header.yaml": "# @package _global_\na: 1\n",
            "other/object.yaml": "a:\n  - {x: 1, _target_: b.C}\n",
            "other/text.yaml": "a: uses _target_ somewhere\n",
        },
    )


def test_a_config_is_known_by_its_place_or_its_keys(edit: Edit, work: Path) -> None:
    files = sorted([*work.rglob("*.yaml"), LIBRARY / "args" / "train.yaml", PYDOC / "chat" / "lora.yaml"])
    opened = "\n".join(f"edit {file}\ncall add(g:said, &filetype)" for file in files)
    found = dict(zip(files, ask(edit, work, opened), strict=True))
    plain = {str(file.relative_to(work)) for file, kind in found.items() if kind == "yaml"}
    assert set(found.values()) == {"yaml", "yaml.forge"}
    assert plain == {
        "one/project.yaml",
        "two/project.yaml",
        "other/deploy/pod.yaml",
        "other/deploy/ci.yaml",
        "other/text.yaml",
    }


def gf(edit: Edit, scratch: Path, file: Path, line: int, column: int) -> str:
    """The file that `gf` leads to from a place, counted from 1."""
    commands = f"edit {file}\ncall cursor({line}, {column})\nnormal! gf\ncall add(g:said, expand('%:p'))"
    return ask(edit, scratch, commands)[0]


# The cursor is at the letter behind the bar.
GF = {
    "  - /model: |tiny": "one/configs/model/tiny.yaml",
    "  - /model: |big": "one/shared/model/big.yaml",
    "  - |/model: big": "one/shared/model/big.yaml",
    "  - /data@a.b: te|xt": "two/configs/data/text.yaml",
    "  - /data@a|.b: text": "two/configs/data/text.yaml",
    "  - override /model: tin|y  # why": "one/configs/model/tiny.yaml",
    "  - optional /data: |text": "two/configs/data/text.yaml",
    "  - '/model': \"|big\"": "one/shared/model/big.yaml",
    "  - |base": "one/configs/run/base.yaml",
    "  - |base@here": "one/configs/run/base.yaml",
    "  - base@|here": "one/configs/run/base.yaml",
    "  - nested: |deep": "one/configs/run/nested/deep.yaml",
    "  - |nested/deep": "one/configs/run/nested/deep.yaml",
    "  - |/model/big": "one/shared/model/big.yaml",
    "  - /model: [tiny, |big]": "one/shared/model/big.yaml",
    "  - /model:\n      - tiny\n      - |big": "one/shared/model/big.yaml",
    "x:\n  _target_: |one_code.models.Tiny": "one/src/one_code/models.py",
    "x: {_symbol_: one_code.models.|Tiny}": "one/src/one_code/models.py",
}


@pytest.mark.parametrize("text", GF)
def test_gf_opens_what_a_line_names(edit: Edit, work: Path, text: str) -> None:
    before = text.partition("|")[0].split("\n")
    file = work / "one" / "configs" / "run" / "here.yaml"
    file.write_text(f"defaults:\n{text.replace('|', '')}\n")
    assert gf(edit, work, file, 1 + len(before), 1 + len(before[-1])) == str(work / GF[text])


def place(file: Path, text: str) -> tuple[Path, int, int]:
    """Where a text begins in a file, counted from 1."""
    lines = file.read_text().splitlines()
    number = next(number for number, line in enumerate(lines) if text in line)
    return file, number + 1, lines[number].index(text) + 1


def test_gf_finds_what_is_part_of_forge(edit: Edit, tmp_path: Path) -> None:
    lora, text = PYDOC / "chat" / "lora.yaml", PYDOC / "dataset" / "pydoc_text.yaml"
    assert gf(edit, tmp_path, *place(lora, "full")) == str(PYDOC / "chat" / "full.yaml")
    assert gf(edit, tmp_path, *place(lora, "lora")) == str(LIBRARY / "adapter" / "lora.yaml")
    assert gf(edit, tmp_path, *place(text, "forge.ml")).startswith(str(ROOT / "forge" / "ml" / "data" / "corpus"))
    own = ROOT / "projects" / "pydoc" / "src" / "pydoc_text" / "__init__.py"
    assert gf(edit, tmp_path, *place(text, "pydoc_text.documents")) == str(own)


def test_an_installed_forge_is_found_from_its_program(edit: Edit, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packages = work / "venv" / "lib" / "python3.12" / "site-packages"
    write(work, {"venv/bin/forge": "", "other/here.yaml": "_target_: torchy.optim.Adam\ndefaults:\n  - /norm: rms\n"})
    write(packages, {"forge/library/configs/norm/rms.yaml": "x: 1\n", "forge/library/chat_templates/a.jinja": ""})
    write(packages, {"torchy/optim/__init__.py": ""})
    (work / "venv" / "bin" / "forge").chmod(0o755)
    monkeypatch.setenv("PATH", str(work / "venv" / "bin"), prepend=os.pathsep)
    file = work / "other" / "here.yaml"
    assert gf(edit, work, *place(file, "rms")) == str(packages / "forge/library/configs/norm/rms.yaml")
    assert gf(edit, work, *place(file, "torchy")) == str(packages / "torchy/optim/__init__.py")


INDENTED = """\
# @package _global_
defaults:
  - /model: tiny
  - /callback:
    - nonfinite
meta:
  name: x
  tags:
    - a
"""


def test_what_is_typed_is_indented_as_configs_are(edit: Edit, work: Path) -> None:
    keys = INDENTED.replace("\n    ", "\n").replace("\n  ", "\n").rstrip("\n")
    keys = "\\<CR>".join(keys.splitlines()).replace('"', '\\"')
    lines = "call extend(g:said, getline(1, '$'))"
    file = work / "one" / "configs" / "typed.yaml"
    typed = f'edit {file}\nsetlocal formatoptions-=ro\nexecute "normal! i{keys}"\n{lines}'
    assert ask(edit, work, typed) == INDENTED.splitlines()


def test_settings_are_those_of_yaml_and_go_with_the_file_type(edit: Edit, work: Path) -> None:
    file = work / "one" / "configs" / "run" / "a.yaml"
    tell = "call add(g:said, &commentstring .. '|' .. &shiftwidth .. '|' .. &expandtab .. '|' .. &includeexpr)\n"
    gone = "set filetype=text\ncall add(g:said, &l:includeexpr .. '|' .. &l:path .. '|' .. &l:indentexpr)\n"
    assert ask(edit, work, f"edit {file}\n{tell}{gone}") == ["# %s|2|1|forge#file(v:fname)", "||"]


def test_forge_alone_is_a_file_type_too(edit: Edit, work: Path) -> None:
    file = work / "other" / "text.yaml"
    tell = "call add(g:said, b:current_syntax .. '|' .. &shiftwidth .. '|' .. hlexists('yamlBlockMappingKey'))"
    found = ask(edit, work, f"syntax on\nedit {file}\nset filetype=forge\n{tell}")
    assert found == ["forge|2|1"]


def test_the_help_has_every_tag_it_refers_to(edit: Edit, tmp_path: Path) -> None:
    write(tmp_path, {"doc/forge.txt": (ROOT / "syntax" / "vim" / "doc" / "forge.txt").read_text()})
    tags = f"helptags {tmp_path / 'doc'}\nset runtimepath^={tmp_path}\n"
    names = (
        "for name in ['forge-what', 'forge-files', 'forge-gf', 'forge-colours', 'g:forge_library', 'forge-settings']\n"
    )
    looked = "execute 'help' name\ncall add(g:said, expand('%:t') .. search('\\*' .. name .. '\\*', 'cw'))\nendfor"
    found = ask(edit, tmp_path, tags + names + looked)
    assert len(found) == 6
    assert all(one.startswith("forge.txt") and not one.endswith("txt0") for one in found)
