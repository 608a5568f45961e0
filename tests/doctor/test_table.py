from __future__ import annotations

from dataclasses import replace

import pytest

from forge.doctor.row import DoctorRow
from forge.doctor.table import plain_table, table_of, table_summary

ROWS = [
    DoctorRow(
        "network", "gloo takes", "warning", "lo 127.0.0.1: the host name vm means it", "export GLOO_SOCKET_IFNAME=eth0"
    ),
    DoctorRow("software", "torch", "good", "2.13.0"),
    DoctorRow("between hosts", "a-host-with-a-long-name to another", "bad", "port 29400: filtered", "a firewall"),
]


def test_the_sections_are_in_order_and_counted() -> None:
    assert (
        table_of(ROWS, width=60, colour=False)
        == """\
software
  good     torch               2.13.0

network
  warning  gloo takes          lo 127.0.0.1: the host name
                               vm means it
                               -> export
                                  GLOO_SOCKET_IFNAME=eth0

between hosts
  bad      a-host-with-a-long-name to another
                               port 29400: filtered
                               -> a firewall

1 bad, 1 warning, 1 good"""
    )


@pytest.mark.parametrize("width", [40, 80, 120, 300])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    rows = [replace(row, found=row.found + " and more" * 30, host=host) for row in ROWS for host in ("hal", "muthur")]
    widest = max(map(len, table_of(rows, width=width, colour=False).splitlines()))
    assert widest <= max(width, 75)


def test_verdicts_have_colours() -> None:
    text = table_of(ROWS, width=80, colour=True)
    assert "\x1b[1mnetwork\x1b[0m" in text
    assert "\x1b[32mgood   \x1b[0m" in text
    assert "\x1b" not in table_of(ROWS, width=80, colour=False)


def hosts(count: int, *, alike: bool) -> list[DoctorRow]:
    return [replace(ROWS[1], found="2.13.0" if alike else f"2.{number}", host=f"h{number}") for number in range(count)]


def test_what_is_the_same_everywhere_is_said_once() -> None:
    assert table_of(hosts(2, alike=True), width=80, colour=False).count("torch") == 1
    assert "all  2.13.0" in table_of(hosts(2, alike=True), width=80, colour=False)
    assert table_of(hosts(2, alike=False), width=80, colour=False).count("torch") == 2
    assert "well on all 8" in table_of(hosts(8, alike=False), width=80, colour=False)
    assert "all" not in table_of(hosts(1, alike=True), width=80, colour=False)
    unreached = DoctorRow("between hosts", "ssh", "bad", "it is not reached", host="h9")
    assert "all  2.13.0" in table_of([*hosts(2, alike=True), unreached], width=80, colour=False)
    different = [*hosts(8, alike=True), replace(ROWS[0], host="h0")]
    assert "h0   lo 127.0.0.1" in table_of(different, width=80, colour=False)


def test_plain_is_a_line_a_row() -> None:
    lines = plain_table([*ROWS, *hosts(2, alike=True)]).splitlines()
    assert len(lines) == len(ROWS) + 3
    assert lines[0].split()[:2] == ["warning", "network"]
    assert lines[0].endswith("-> export GLOO_SOCKET_IFNAME=eth0")
    assert table_summary([]) == plain_table([]) == "0 bad, 0 warnings, 0 good"
