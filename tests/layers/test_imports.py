"""Who may import whom, read from the sources."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import Import, Module

# A package imports only from lower tiers, and from itself. docs/architecture.md has the same table.
TIERS = {
    "base": 0,
    "compose": 1,
    "graph": 2,
    "render": 3,
    "plan": 3,
    "build": 3,
    "launch": 4,
    "control": 4,
    "doctor": 4,
    "chatting": 4,
    "report": 4,
    "api": 5,
    "cli": 5,
    "lsp": 5,
    "shell": 5,
}
# Within the top tier the order is: the Python API, the command line on it, the shell on both. What launches writes down for
# what controls.
BESIDE = {
    ("build", "plan"),
    ("launch", "control"),
    ("doctor", "launch"),
    ("report", "control"),
    ("cli", "api"),
    ("cli", "lsp"),
    ("shell", "api"),
    ("shell", "cli"),
}
# `ml` stands beside the tiers: nothing imports it, and it may use these.
ML_MAY_USE = ("base", "graph", "build", "plan", "control", "launch.topology")
# The package itself and `python -m forge` hand on to the entry points, inside functions or as the command.
ENTRY_POINTS = {
    ("forge", "forge.api.project"),
    ("forge.__main__", "forge.base.collector"),
    ("forge.__main__", "forge.cli.main"),
    ("forge.__main__", "forge.cli.session"),
    ("forge.__main__", "forge.shell.app"),
}
ONLY_IN_ML = ("torch", "transformers", "tokenizers", "safetensors", "peft", "datasets", "accelerate", "torchao")
ONLY_IN_COMPOSE = ("hydra", "omegaconf", "antlr4")


def edges(modules: dict[str, Module]) -> Iterator[tuple[Module, Import]]:
    return ((module, found) for module in modules.values() for found in module.imports)


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def package_of(name: str) -> str:
    return name.split(".")[1] if "." in name else ""


def test_each_package_has_a_tier(modules: dict[str, Module]) -> None:
    packages = {module.package for module in modules.values()} - {"", "__main__"}
    assert packages <= {*TIERS, "ml"}  # control and shell have their tier before they have code


def test_a_package_imports_only_from_lower_tiers(modules: dict[str, Module]) -> None:
    wrong = []
    for module, found in edges(modules):
        if not within(found.target, "forge") or (module.name, found.target) in ENTRY_POINTS:
            continue
        ours, theirs = module.package, package_of(found.target)
        if ours == theirs or not theirs:  # `from forge import __version__` asks for nothing above
            continue
        if ours == "ml":
            allowed = any(within(found.target, f"forge.{name}") for name in ML_MAY_USE)
        else:
            allowed = ours in TIERS and theirs in TIERS and (TIERS[theirs] < TIERS[ours] or (ours, theirs) in BESIDE)
        if not allowed:
            wrong.append(f"{module.where(found.line)}: forge.{ours} imports {found.target}")
    assert wrong == [], "\n".join(wrong)


def test_no_import_leads_back_to_its_module(modules: dict[str, Module]) -> None:
    needs = {
        module.name: {
            found.target
            for found in module.imports
            if found.at_top and not found.typing_only and found.target in modules and found.target != module.name
        }
        for module in modules.values()
    }
    done: set[str] = set()
    while ready := [name for name, needed in needs.items() if name not in done and needed <= done]:
        done.update(ready)
    assert {name: sorted(needed - done) for name, needed in needs.items() if name not in done} == {}


def test_only_ml_imports_torch_and_what_stands_on_it(modules: dict[str, Module]) -> None:
    wrong = [
        f"{module.where(found.line)}: {found.target}"
        for module, found in edges(modules)
        if module.package != "ml" and any(within(found.target, name) for name in (*ONLY_IN_ML, "forge.ml"))
    ]
    assert wrong == [], "\n".join(wrong)


def test_only_compose_imports_hydra_and_omegaconf(modules: dict[str, Module]) -> None:
    wrong = [
        f"{module.where(found.line)}: {found.target}"
        for module, found in edges(modules)
        if module.package != "compose" and any(within(found.target, name) for name in ONLY_IN_COMPOSE)
    ]
    assert wrong == [], "\n".join(wrong)


def test_base_imports_the_standard_library_alone(modules: dict[str, Module]) -> None:
    wrong = [
        f"{module.where(found.line)}: {found.target}"
        for module, found in edges(modules)
        if module.package == "base"
        and not within(found.target, "forge.base")
        and found.target.split(".")[0] not in sys.stdlib_module_names
    ]
    assert wrong == [], "\n".join(wrong)


def test_the_architecture_page_has_the_same_tiers(root: Path) -> None:
    text = (root / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\|\s*(\d+)\s*\|([^|]+)\|", text, re.MULTILINE)
    assert {name: int(tier) for tier, cell in rows for name in re.findall(r"`(\w+)`", cell)} == TIERS


def test_an_import_against_the_tiers_is_found(tmp_path: Path, reader: Callable[[Path], dict[str, Module]]) -> None:
    package = tmp_path / "forge"
    for name, source in {
        "__init__.py": "",
        "base/__init__.py": "",
        "base/low.py": "def late():\n    from forge.graph import high\n",
        "graph/__init__.py": "",
        "graph/high.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch\nfrom . import other\n",
        "graph/other.py": "import forge.graph.high\n",
    }.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(source)
    found = reader(package)
    assert [(i.target, i.at_top) for i in found["forge.base.low"].imports] == [("forge.graph.high", False)]
    targets = {i.target: i.typing_only for i in found["forge.graph.high"].imports}
    assert targets == {"typing": False, "torch": True, "forge.graph.other": False}
