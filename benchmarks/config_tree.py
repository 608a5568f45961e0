"""A project of any size: nodes spread over config groups, each a target with five values, two of them interpolations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["CONFIG", "GROUPS", "TARGET", "node_data", "write_project"]

CONFIG = "main"
GROUPS = 20
TARGET = "builtins.dict"
"""What every node builds: the cheapest target that forge's policy, Hydra and Fiddle all take."""


def write_project(folder: Path, nodes: int) -> None:
    """Write a project whose config ``main`` has this many nodes in (at most) twenty groups of one choice each."""
    groups = min(GROUPS, nodes)
    (folder / "configs").mkdir(parents=True)
    (folder / "project.yaml").write_text("name: measured\ndescription: Made to be measured.\ndefault_config: main\n")
    chosen = "".join(f"  - {_group(number)}: only\n" for number in range(groups))
    (folder / "configs" / f"{CONFIG}.yaml").write_text(f"defaults:\n{chosen}  - _self_\nseed: 1\nscale: 0.5\n")
    for number in range(groups):
        members = range(number, nodes, groups)
        path = folder / "configs" / _group(number) / "only.yaml"
        path.parent.mkdir()
        path.write_text("".join(_node_text(_group(number), place) for place, _ in enumerate(members)))


def node_data(group: str, place: int) -> dict[str, Any]:
    """The six entries of one node; all but the first of a group share that first one."""
    return {
        "_target_": TARGET,
        "width": 8 * (place + 1),
        "rate": 0.001 * (place + 1),
        "title": f"{group} number {place}",
        "seed": "${seed}",
        "base": f"${{{group}.node_0}}" if place else "${scale}",
    }


def _node_text(group: str, place: int) -> str:
    return f"node_{place}:\n" + "".join(f"  {key}: {value}\n" for key, value in node_data(group, place).items())


def _group(number: int) -> str:
    return f"part_{number:02}"
