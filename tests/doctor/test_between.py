from __future__ import annotations

import socket
import sys
from typing import TYPE_CHECKING, Any

import pytest

from forge.base.errors import ToolError
from forge.doctor import between, storage
from forge.doctor.between import examine_hosts, host_names
from forge.doctor.examine import DoctorsWish
from forge.doctor.remote import RemoteHand

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeAlias

    Look: TypeAlias = Callable[..., list[between.DoctorRow]]
    from pathlib import Path


def test_hosts_as_they_are_written_elsewhere() -> None:
    assert host_names("hal:4, dave@muthur,10.0.0.7") == ["hal", "dave@muthur", "10.0.0.7"]
    for text in ("", "a,", "-x", "a b", "a,a:2"):
        with pytest.raises(ValueError, match=r"hosts are names|named twice"):
            host_names(text)


@pytest.mark.usefixtures("ssh")
def test_two_hosts_that_are_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "_MOST", 1 << 20)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        (tmp_path / "runs").mkdir()
        port = probe.getsockname()[1]
    rows = examine_hosts(["127.0.0.1", "localhost", "gone"], DoctorsWish(str(tmp_path / "runs"), port), sys.executable)
    between_hosts = {row.name: row for row in rows if row.section == "between hosts"}
    assert {name: row.verdict for name, row in between_hosts.items()} == {
        "ssh": "bad",
        **dict.fromkeys(("versions", "MTU", "clocks", "shared folder", "ports", "latency", "bandwidth"), "good"),
    }
    assert between_hosts["ports"].found == f"all 2 ways are open, on port {port} and on others"
    assert between_hosts["ssh"].host == "gone"
    assert {row.host for row in rows if row.name == "Python"} == {"127.0.0.1", "localhost"}
    assert list((tmp_path / "runs").iterdir()) == []


class Scripted:
    """A host whose answers are given: by what is asked, or by a function of the question."""

    def __init__(self, host: str, **answers: Any) -> None:
        self.host = host
        self.asked: list[dict[str, Any]] = [{"do": "greet"}]
        facts = {"versions": {"torch": "2.9.0"}, "addresses": ["10.0.0.7"], "mtu": {"eth0": 1500}, "gloo": "10.0.0.7"}
        self.answers: dict[str, Any] = {
            "greet": {},
            "examine": {"rows": [], "facts": facts | answers.pop("facts", {})},
            "clock": {"now": 0.0},
            "leave": {"path": "/runs/x"},
            "sees": {"sees": True},
            "take": {},
            "open": lambda question: {"port": question["port"] or 40000},
            "reach": {"answer": "open", "known": True, "latency": 0.0002, "bandwidth": 1.1e9, "stalled": False},
            **answers,
        }

    def ask(self, **question: Any) -> None:
        self.asked.append(question)

    def take(self, _patience: float) -> dict[str, Any]:
        question = self.asked.pop(0)
        answer = self.answers[question["do"]]
        if isinstance(answer, ToolError):
            raise answer
        return answer(question) if callable(answer) else answer

    def close(self) -> None:
        assert self.asked == []


@pytest.fixture
def look(monkeypatch: pytest.MonkeyPatch) -> Look:
    """What is wrong between hosts that answer so."""

    def examined(*hosts: Scripted) -> list[between.DoctorRow]:
        hands: Sequence[Any] = hosts
        named = {hand.host: hand for hand in hands}
        monkeypatch.setattr(between, "RemoteHand", lambda host, _command: named[host])
        rows = examine_hosts([hand.host for hand in hands], DoctorsWish("/runs"), "python")
        return [row for row in rows if row.verdict != "good"]

    assert RemoteHand is not None
    return examined


def reach(**changes: Any) -> dict[str, Any]:
    return {"answer": "open", "known": True, "latency": 0.0002, "bandwidth": 1.1e9, "stalled": False, **changes}


def shut(answer: str, detail: str = "") -> dict[str, Any]:
    return reach(answer=answer, known=False, detail=detail)


def test_hosts_that_are_well(look: Look) -> None:
    assert look(Scripted("a"), Scripted("dave@b"), Scripted("c")) == []
    assert look(Scripted("a")) == []


@pytest.mark.parametrize(
    ("changes", "name", "verdict", "says", "remedy"),
    [
        (
            {"facts": {"versions": {"torch": "2.8.0"}}},
            "versions",
            "bad",
            "torch is 2.9.0 on a, 2.8.0 on b",
            "container image",
        ),
        (
            {"facts": {"versions": {"torch": "2.9.0", "driver": "550"}}},
            "versions",
            "warning",
            "driver is none on a",
            "one",
        ),
        ({"facts": {"versions": {}}}, "versions", "bad", "torch is 2.9.0 on a, none on b", "one environment"),
        ({"facts": {"mtu": {"e": 9000}}}, "MTU", "warning", "1500 on a, 9000 on b", "ip link set NAME mtu"),
        ({"clock": {"now": 5.0}}, "clocks", "warning", "that of b is 5.0 seconds ahead of that of a", "chrony"),
        ({"clock": {"now": 500.0}}, "clocks", "bad", "500.0 seconds ahead", "timesyncd"),
        ({"sees": {"sees": False}}, "shared folder", "bad", "into /runs is not seen by b", "--output-dir"),
        ({"sees": ToolError("gone")}, "shared folder", "bad", "is not seen by b", "--output-dir"),
        (
            {"reach": shut("filtered", "timed out")},
            "b to a",
            "bad",
            "port 29400 and other ports of a: filtered",
            "firewall",
        ),
        ({"reach": shut("no route")}, "b to a", "bad", "no route", "network that all nodes have in common"),
        (
            {"reach": shut("closed", "refused")},
            "b to a",
            "bad",
            "is refused, although it is open there",
            "a firewall refuses it",
        ),
        ({"reach": shut("unknown name")}, "b to a", "bad", "b does not know the name a", "--hosts 10.0.0.7,..."),
        ({"reach": shut("open")}, "b to a", "bad", "something else answers", "two machines"),
        ({"reach": reach(bandwidth=5e6)}, "bandwidth", "warning", "5.0 MB/s b to a, the slowest", "Gigabit"),
        (
            {"reach": reach(latency=0.03)},
            "latency",
            "warning",
            "30.00 ms there and back, the longest b to a",
            "pipelines",
        ),
        ({"reach": reach(stalled=True, bandwidth=None)}, "b to a", "bad", "large ones do not", "one MTU"),
        ({"examine": {"error": "no such file"}}, "ssh", "bad", "the examination of b failed: no such file", ""),
        ({"examine": {"rows": [{}], "facts": {}}}, "ssh", "bad", "no row of the doctor's", ""),
    ],
)
def test_what_is_wrong_with_the_second(
    look: Look, changes: dict[str, Any], name: str, verdict: str, says: str, remedy: str
) -> None:
    (row,) = look(Scripted("a"), Scripted("b", **changes))
    assert (row.name, row.verdict) == (name, verdict)
    assert says in row.found
    assert remedy in row.remedy


def test_one_port_alone_is_named(look: Look) -> None:
    def only_others(question: dict[str, Any]) -> dict[str, Any]:
        return shut("filtered") if question["port"] == 29400 else reach()

    (row,) = look(Scripted("a"), Scripted("b", reach=only_others))
    assert row.found.startswith("port 29400 of a: filtered")
    (row,) = look(
        Scripted("a"), Scripted("b", reach=lambda question: reach() if question["port"] == 29400 else shut("filtered"))
    )
    assert row.found.startswith("other ports of a: filtered")


def test_a_host_that_has_no_way_to_any_other_is_said_once(look: Look) -> None:
    def past_c(question: dict[str, Any]) -> dict[str, Any]:
        return shut("no route") if question["to"] == "c" else reach()

    hosts = [Scripted(name, reach=past_c) for name in "abd"]
    rows = look(*hosts, Scripted("c", reach=shut("no route")))
    assert [(row.name, row.verdict) for row in rows] == [("c", "bad")]
    assert "it reaches none of the others, and none of them reaches it: port 29400" in rows[0].found


def test_a_port_that_somebody_has_is_not_tried(look: Look) -> None:
    def taken(question: dict[str, Any]) -> dict[str, Any]:
        return {"port": 40000} if question["port"] == 0 else {"error": "in use"}

    assert look(Scripted("a", open=taken), Scripted("b", open=taken)) == []
    rows = look(Scripted("a", open={"error": "in use"}), Scripted("b", open={"error": "in use"}))
    assert {(row.name, row.verdict) for row in rows} == {("a", "bad"), ("b", "bad")}
    assert "no port for the others" in rows[0].found


def test_a_first_host_that_cannot_write(look: Look) -> None:
    rows = look(Scripted("a", leave={"error": "read-only"}), Scripted("b"))
    assert [row.found for row in rows] == ["a cannot write there: read-only"]
