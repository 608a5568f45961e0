from __future__ import annotations

import pytest

from forge.launch.told import nodes_told, torchrun_told


@pytest.mark.parametrize(
    ("command", "environment", "value"),
    [
        ([], {}, ""),
        (["--max-restarts", "2", "-m", "x"], {}, "2"),
        (["--max_restarts=3"], {}, "3"),
        (["--max-restarts", "2", "--max-restarts", "4"], {}, "4"),
        (["-m", "x"], {"PET_MAX_RESTARTS": "5"}, "5"),
        (["--max-restarts", "2"], {"PET_MAX_RESTARTS": "5"}, "2"),
        (["--max-restarts"], {}, ""),
    ],
)
def test_the_line_comes_before_the_environment(command: list[str], environment: dict[str, str], value: str) -> None:
    assert torchrun_told("max-restarts", command, environment) == value


@pytest.mark.parametrize(
    ("nnodes", "nodes"), [("", (1, 1)), ("3", (3, 3)), ("1:4", (1, 4)), ("some", (1, 1)), ("2:x", (2, 2))]
)
def test_numbers_of_nodes(nnodes: str, nodes: tuple[int, int]) -> None:
    assert nodes_told([], {"PET_NNODES": nnodes}) == nodes
