from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from forge.shell.complaint import Complaints
from forge.shell.refresh import CheckState, Refresher, Snapshot, check_state, running_jobs
from forge.shell.state import SHELL_VERBS, Choice

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LONG = 20.0


class Watched:
    """A refresher with a check that the test holds in its hand."""

    def __init__(self, choice: Choice) -> None:
        self.changes = threading.Condition()
        self.complaints = Complaints()
        self.checked: list[Choice] = []
        self.go_on = threading.Event()
        self.go_on.set()
        self.refresher = Refresher(choice, SHELL_VERBS, self.complaints, self._changed, self.check, seconds=0.02)

    def check(self, choice: Choice) -> CheckState:
        self.checked.append(choice)
        self._changed()
        self.go_on.wait(LONG)
        return check_state(choice)

    def _changed(self) -> None:
        with self.changes:
            self.changes.notify_all()

    def until(self, true: Callable[[], bool]) -> None:
        with self.changes:
            assert self.changes.wait_for(true, LONG)

    def settled(self) -> CheckState:
        self.until(lambda: not self.refresher.checking and self.refresher.snapshot.state.status != "unknown")
        return self.refresher.snapshot.state


@pytest.fixture
def here(project: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Choice:
    assert environment
    monkeypatch.chdir(project)
    return Choice(str(project))


@pytest.fixture
def watched(here: Choice) -> Iterator[Watched]:
    made = Watched(here)
    yield made
    made.go_on.set()
    made.refresher.close()
    assert not any(thread.name == "forge-refresh" for thread in threading.enumerate())


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ((), "ok"),
        (("size=large",), "ok"),
        (("nosuch=1",), "broken"),
        (("trainer._target_=builtins.nosuch",), "errors"),
    ],
)
def test_a_config_is_in_order_or_has_errors_or_does_not_compose(
    here: Choice, overrides: tuple[str, ...], expected: str
) -> None:
    state = check_state(here._replace(overrides=overrides))
    assert state.status == expected
    assert (state.errors > 0) == bool(state.message) == (expected != "ok")
    assert check_state(here._replace(config="nosuch")).status == "broken"


def test_where_no_config_is_the_default_there_is_nothing_to_check(here: Choice, project: Path) -> None:
    (project / "project.yaml").write_text("name: demo\n")
    assert check_state(here).status == "none"
    assert running_jobs() == 0


def test_a_line_that_chooses_otherwise_is_answered_otherwise(here: Choice) -> None:
    snapshot = Snapshot(here._replace(overrides=("size.dim=9",)), SHELL_VERBS)
    assert snapshot.of_line(None, None, ()).values(("size",))["dim"].shown == "9"
    line = snapshot.of_line(None, None, ("size=large",))
    assert (line.values(("size",))["dim"].shown, line.values(("size",))["layers"].shown) == ("9", "20")
    assert snapshot.of_line(None, "other", ()).values(("size",))["dim"].shown == "800"
    assert snapshot.of_line(None, "other", ()) is snapshot.of_line(None, "other", ())
    for number in range(100):
        snapshot.of_line(None, "other", (f"mode={number}",))
    assert snapshot.of_line("pydoc", None, ()).configs()["pretrain/tiny"].startswith("default, ")


def test_what_is_known_is_there_before_the_check_is_through(watched: Watched) -> None:
    watched.go_on.clear()
    watched.refresher.start()
    watched.until(lambda: bool(watched.checked))
    assert watched.refresher.checking
    assert watched.refresher.snapshot.state.status == "unknown"
    assert "trainer" in watched.refresher.snapshot.knowledge.values(())
    assert watched.refresher.verb_names is not None
    assert {"show", "cd"} <= watched.refresher.verb_names
    before = watched.refresher.snapshot
    watched.go_on.set()
    assert watched.settled().status == "ok"
    assert watched.refresher.snapshot.knowledge is before.knowledge
    assert before.state.status == "unknown"  # swapped, not changed


def test_a_file_that_changes_is_noticed(watched: Watched, project: Path) -> None:
    watched.refresher.start()
    assert watched.settled().status == "ok"
    (project / "configs" / "size" / "small.yaml").write_text("dim: [\n")
    watched.until(lambda: watched.refresher.snapshot.state.status == "broken")
    (project / "configs" / "size" / "small.yaml").write_text("dim: 5\n")
    watched.until(lambda: watched.refresher.snapshot.state.status == "ok")
    assert watched.refresher.snapshot.knowledge.values(("size",))["dim"].shown == "5"


def test_another_choice_takes_the_place_of_the_one_that_is_being_checked(watched: Watched, here: Choice) -> None:
    watched.go_on.clear()
    watched.refresher.start()
    watched.until(lambda: bool(watched.checked))
    other = here._replace(config="other")
    watched.refresher.request(other)
    watched.go_on.set()
    watched.until(lambda: watched.refresher.snapshot.choice == other and watched.settled().status == "ok")
    assert watched.checked == [here, other]
    assert watched.refresher.snapshot.knowledge.values(("size",))["dim"].shown == "800"


def test_nothing_is_done_while_nothing_changes(watched: Watched, here: Choice) -> None:
    watched.refresher.start()
    watched.settled()
    for _ in range(3):
        watched.refresher.request(here)
    assert not threading.Event().wait(0.1)  # several rounds go by
    assert len(watched.checked) == 1


def test_a_check_that_fails_is_a_complaint_and_the_thread_goes_on(watched: Watched, here: Choice) -> None:
    original = watched.refresher._check

    def fail(_: Choice) -> CheckState:
        raise RuntimeError("boom")

    watched.refresher._check = fail
    watched.refresher.start()
    watched.until(lambda: not watched.refresher.checking)
    assert watched.complaints.text == "the check failed: RuntimeError: boom"
    watched.refresher._check = original
    watched.refresher.request(here)
    assert watched.settled().status == "ok"


def test_it_ends_while_a_check_hangs(watched: Watched) -> None:
    watched.go_on.clear()
    watched.refresher.start()
    watched.until(lambda: bool(watched.checked))
    watched.refresher.close()  # returns; the fixture lets the check end


def test_composing_in_two_threads_at_once_gives_each_its_own_answer(here: Choice) -> None:
    found: dict[int, list[str]] = {0: [], 1: []}

    def compose(number: int) -> None:
        for dim in range(number, 60, 2):
            line = Snapshot(here, SHELL_VERBS).of_line(None, None, (f"size.dim={dim}", "size=large"))
            found[number].append(line.values(("size",))["dim"].shown)

    threads = [threading.Thread(target=compose, args=(number,)) for number in found]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: [str(dim) for dim in range(number, 60, 2)] for number in found}
