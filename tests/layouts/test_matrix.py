"""Every family in every layout: it learns what it learns in one process, or the layout is refused with a reason.

It does so in float64, in which a layout that adds the same in another order stays within 1e-9 over 20 steps: in float32 deep models
make of a last digit what a mistake could be, in one process too. At full size they are trained in float32 as well.

The table in docs/layouts.md is what ``check`` and ``plan`` say. Some of it is trained each time; at full size each "yes" in it is.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

pytestmark = [pytest.mark.torch, pytest.mark.slow]
pytest.importorskip("torch")

sys.path.insert(0, str(Path(__file__).parent))

from cases import BATCH, FAMILIES, STEPS, apart, carried_out, make_the_project  # noqa: E402 - torch may be missing
from matrix import LAYOUTS, case_of, refused, table  # noqa: E402 - as above
from test_same_loss import compare  # noqa: E402 - as above

if TYPE_CHECKING:
    from collections.abc import Callable

    from cases import Case, Outcome

FULL = os.environ.get("FORGE_FULL") == "1"
PAGE = Path(__file__).parents[2] / "docs" / "layouts.md"
FEW = ("gpt2", "qwen3_moe")
# The layouts of two processes, each with another family.
OF_TWO = [name for name, placed in LAYOUTS.items() if placed.processes == 2]
SOME = [(name, [*FAMILIES][-number % len(FAMILIES)]) for number, name in enumerate(OF_TWO)]

# With eight layers these end further in float32 from one process that takes all rows of a step at once (losses by 1.5e-5, weights by
# 1e-3); so does one process that begins with weights changed by 1e-7 (losses of qwen3_moe by 2.5e-5). In float32 they are compared with
# one process that takes the rows one after another as the pipeline does, and so adds gradients in the same order: they learn the same
# to the last bit. Looped BFS goes back through the rows in the opposite order, and experts magnify that (losses by 1.2e-5).
DEEP = ("pp_i1f1b 4", "pp_bfs 4", "pp_zb 4", "pp_zbv 4", "pp_dualpipe 4")
IN_ORDER = {(family, name) for family in ("qwen3_moe", "phi3", "gpt2") for name in DEEP}
FURTHER = {("qwen3_moe", "pp_bfs 4"): 2.0}
ONE_BY_ONE = ("trainer.per_device_train_batch_size=1", f"trainer.gradient_accumulation_steps={BATCH}")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("matrix") / "project"
    make_the_project(folder)
    return folder


def shown() -> dict[str, dict[str, str]]:
    """The table of the page: for each layout and family what it says, with the reason for a number."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("| layout | gpt2"))
    families = [cell.strip() for cell in lines[start].strip("|").split("|")][1:]
    reasons = {found[1]: found[2] for line in lines[start:] if (found := re.fullmatch(r"(\d+)\. (.*)", line))}
    rows = {}
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        name, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        said = [reasons[found[1]] if (found := re.fullmatch(r"no \((\d+)\)", cell)) else cell for cell in cells]
        rows[name] = dict(zip(families, said, strict=True))
    return rows


def test_the_table_of_the_page_is_what_is_said(project: Path) -> None:
    if FULL and os.environ.get("FORGE_UPDATE_SNAPSHOTS"):
        before, _, after = PAGE.read_text(encoding="utf-8").partition("<!-- table: tests/layouts -->\n")
        _, _, rest = after.partition("<!-- end of table -->")
        new = f"{before}<!-- table: tests/layouts -->\n{table(project)}\n<!-- end of table -->{rest}"
        PAGE.write_text(new, encoding="utf-8")
    page = shown()
    assert list(page) == list(LAYOUTS)
    assert len(page) >= 40
    for name in LAYOUTS:
        assert list(page[name]) == list(FAMILIES)
        for family in FAMILIES if FULL else FEW:
            assert page[name][family] == ("; ".join(refused(project, family, name)) or "yes"), (name, family)


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Case, int], Outcome]:
    """What a case has shown, in so many processes."""
    folder = tmp_path_factory.mktemp("learned")
    known: dict[tuple[Case, int], Outcome] = {}

    def run(case: Case, processes: int) -> Outcome:
        if (case, processes) not in known:
            known.update({(case, processes): carried_out(folder, [case], processes)[case]})
        return known[case, processes]

    return run


def held(
    learned: Callable[[Case, int], Outcome],
    case: Case,
    processes: int,
    changes_alone: tuple[str, ...] = (),
    further: float = 1.0,
) -> None:
    there, alone = (
        learned(case, processes),
        learned(case._replace(layout=(), changes=(*case.changes, *changes_alone)), 1),
    )
    compare(case, there, alone, further)


@pytest.mark.parametrize(("name", "family"), SOME)
def test_each_layout_of_two_with_some_family(learned: Callable[[Case, int], Outcome], name: str, family: str) -> None:
    case = case_of(family, name)
    held(learned, case._replace(changes=(*case.changes, "trainer.max_steps=4", "trainer.eval_steps=4"), wide=True), 2)


@pytest.mark.skipif(not FULL, reason="hours: FORGE_FULL=1 trains each family in each layout, 20 steps")
@pytest.mark.timeout(6000)
@pytest.mark.parametrize("processes", [2, 4, 8])
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("wide", [True, False], ids=["float64", "float32"])
def test_a_family_learns_the_same_in_each_layout(
    learned: Callable[[Case, int], Outcome], family: str, processes: int, *, wide: bool
) -> None:
    names = [name for name, placed in LAYOUTS.items() if placed.processes == processes]
    names = [name for name in names if shown()[name][family] == "yes"]
    assert names
    for name in names:
        changes_alone = ONE_BY_ONE if not wide and (family, name) in IN_ORDER else ()
        further = FURTHER.get((family, name), 1.0)
        held(learned, case_of(family, name)._replace(wide=wide), processes, changes_alone, further)


@pytest.mark.parametrize(("name", "family"), [("pp_zbv 2", "qwen3_moe"), ("pp_1f1b 2", "phi3")])
def test_a_pipeline_learns_to_the_last_bit_what_one_process_learns_row_by_row(
    learned: Callable[[Case, int], Outcome], name: str, family: str
) -> None:
    case = case_of(family, name)
    case = case._replace(changes=(*case.changes, "trainer.gradient_accumulation_steps=1"))
    there, alone = learned(case, 2), learned(case._replace(layout=(), changes=(*case.changes, *ONE_BY_ONE)), 1)
    found = apart(there, alone)
    assert len(there.losses) == STEPS
    assert (found.losses, found.norms, found.gradients, found.weights) == (0, 0, 0, 0)
