"""Several hosts held against each other: their versions, their clocks, the folder they share, and every way between them."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from forge.base.errors import ToolError
from forge.doctor.examine import DoctorsWish, shown_rate
from forge.doctor.remote import RemoteHand, hand_command
from forge.doctor.row import DoctorRow, row_of
from forge.launch.preflight_reach import reach_advice

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["examine_hosts", "host_names"]

_SECTION: Final = "between hosts"
_COMES: Final = 30.0
_EXAMINED: Final = 90.0
_ANSWERS: Final = 20.0
_TIMES: Final = 3
_APART: Final = 1.0
_FAR_APART: Final = 60.0
_FAR: Final = 0.005
_MAY_DIFFER: Final = ("python", "driver")
_OTHERS: Final = "other ports"
_SLOW: Final = 50e6
_MTU: Final = "the largest packets do not come through: give all interfaces, and the switches between, one MTU"


class _Host(NamedTuple):
    """A host that answers: its name among the others, its hand, and what is compared of it."""

    name: str
    hand: RemoteHand
    facts: Mapping[str, Any]


class _Door(NamedTuple):
    """A port that a host has opened for the others: which, by what token, and what it stands for."""

    port: int
    token: str
    what: str


def host_names(text: str) -> list[str]:
    """``hal:4,dave@muthur`` as hosts that ssh knows; how many processes each has does not matter here."""
    words = [word.strip() for word in text.split(",")]
    names = [
        head if head and count.isdecimal() else word for word in words for head, _, count in [word.rpartition(":")]
    ]
    if any(not name or name.startswith("-") or any(mark.isspace() for mark in name) for name in names):
        raise ValueError("hosts are names without spaces that do not begin with a dash: a,b")
    if len(set(names)) < len(names):
        raise ValueError("a host is named twice")
    return names


def examine_hosts(names: Sequence[str], wish: DoctorsWish, python: str) -> list[DoctorRow]:
    """The rows of each host, and of what is between them."""
    hands = [RemoteHand(name, hand_command(name, python, os.getcwd())) for name in names]
    try:
        rows: list[DoctorRow] = []
        hosts = list(_examined(hands, wish, rows))
        rows += _alike(hosts)
        rows += _clocks(hosts)
        rows += _shared(hosts, wish)
        return [*rows, *_ways(hosts, wish.port)]
    finally:
        for hand in hands:
            hand.close()


def _examined(hands: Sequence[RemoteHand], wish: DoctorsWish, rows: list[DoctorRow]) -> Iterator[_Host]:
    """The hosts that answer, while their rows are added; a row for each that does not."""
    for hand in hands:
        hand.ask(do="examine", wish=wish._asdict())
    for hand in hands:
        name = hand.host.rpartition("@")[2]
        try:
            answer = _examination(hand, name)
            rows += [row_of(row, name) for row in answer["rows"]]
        except (ToolError, ValueError, TypeError, KeyError) as error:
            what, hint = (error.what, error.hint or "") if isinstance(error, ToolError) else (str(error), "")
            rows.append(DoctorRow(_SECTION, "ssh", "bad", what, hint, name))
            continue
        yield _Host(name, hand, answer["facts"])


def _examination(hand: RemoteHand, name: str) -> dict[str, Any]:
    hand.take(_COMES)  # its greeting
    answer = hand.take(_EXAMINED)
    if "error" in answer:
        raise ToolError(f"the examination of {name} failed: {answer['error']}")
    return answer


def _alike(hosts: Sequence[_Host]) -> Iterator[DoctorRow]:
    """Whether all run the same."""
    if len(hosts) < 2:  # noqa: PLR2004 - two are compared
        return
    rows = []
    for what in dict.fromkeys(name for host in hosts for name in host.facts["versions"]):
        values = {host.name: str(host.facts["versions"].get(what, "none")) for host in hosts}
        if len(set(values.values())) > 1:
            says = f"{what} is {', '.join(f'{value} on {name}' for name, value in values.items())}"
            remedy = "use one environment, or one container image, on all of them"
            rows.append(DoctorRow(_SECTION, "versions", "warning" if what in _MAY_DIFFER else "bad", says, remedy))
    yield from rows
    if not rows:
        said = ", ".join(f"{name} {value}" for name, value in hosts[0].facts["versions"].items())
        yield DoctorRow(_SECTION, "versions", "good", f"the same on all: {said}")
    yield from _packets(hosts)


def _packets(hosts: Sequence[_Host]) -> Iterator[DoctorRow]:
    sizes = {host.name: sorted(map(str, set(host.facts["mtu"].values()))) for host in hosts}
    if len({tuple(size) for size in sizes.values()}) > 1:
        says = ", ".join(f"{'/'.join(size) or 'none'} on {name}" for name, size in sizes.items())
        remedy = "one MTU on all interfaces of one network, or large messages are lost: ip link set NAME mtu 1500"
        yield DoctorRow(_SECTION, "MTU", "warning", says, remedy)
    else:
        yield DoctorRow(_SECTION, "MTU", "good", f"{'/'.join(sizes[hosts[0].name])} on all")


def _clocks(hosts: Sequence[_Host]) -> Iterator[DoctorRow]:
    """How far the clocks are apart, the way there and back taken into account."""
    if len(hosts) < 2:  # noqa: PLR2004 - as above
        return
    offsets = {}
    for host in hosts:
        found = [_offset(host) for _ in range(_TIMES)]
        known = [one for one in found if one is not None]
        if known:
            offsets[host.name] = min(known)[1]
    if len(offsets) < 2:  # noqa: PLR2004 - as above
        return
    first, last = min(offsets, key=lambda name: offsets[name]), max(offsets, key=lambda name: offsets[name])
    apart = offsets[last] - offsets[first]
    if apart < _APART:
        yield DoctorRow(_SECTION, "clocks", "good", f"at most {apart * 1000:.0f} ms apart")
        return
    says = f"that of {last} is {apart:.1f} seconds ahead of that of {first}"
    remedy = "let all keep their time by chrony or systemd-timesyncd"
    yield DoctorRow(_SECTION, "clocks", "bad" if apart > _FAR_APART else "warning", says, remedy)


def _offset(host: _Host) -> tuple[float, float] | None:
    """How long the answer took, and how far the host's clock is ahead of ours."""
    began = time.time()
    answer = _asked(host, do="clock")
    ended = time.time()
    if not isinstance(answer.get("now"), (int, float)):
        return None
    return ended - began, float(answer["now"]) - (began + ended) / 2


def _shared(hosts: Sequence[_Host], wish: DoctorsWish) -> Iterator[DoctorRow]:
    """Whether what the first host writes is seen by the others."""
    if len(hosts) < 2:  # noqa: PLR2004 - as above
        return
    first, token = hosts[0], os.urandom(16).hex()
    left = _asked(first, do="leave", folder=wish.folder, token=token)
    name, remedy = "shared folder", "put the runs on a filesystem that all share, at the same path: --output-dir"
    if "path" not in left:
        yield DoctorRow(_SECTION, name, "bad", f"{first.name} cannot write there: {left.get('error')}", remedy)
        return
    for host in hosts[1:]:
        host.hand.ask(do="sees", path=left["path"], token=token)
    blind = [host.name for host in hosts[1:] if not _taken(host).get("sees")]
    _asked(first, do="take", path=left["path"])
    if blind:
        says = f"what {first.name} writes into {wish.folder} is not seen by {', '.join(blind)}"
        yield DoctorRow(_SECTION, name, "bad", says, remedy)
    else:
        yield DoctorRow(_SECTION, name, "good", f"{wish.folder} is seen by all")


def _ways(hosts: Sequence[_Host], port: int) -> Iterator[DoctorRow]:
    """Whether each host reaches the ports of each other one, and how quickly."""
    if len(hosts) < 2:  # noqa: PLR2004 - as above
        return
    doors = {host.name: list(_opened(host, port)) for host in hosts}
    for name in (name for name, opened in doors.items() if not opened):
        remedy = "look at its limits (ulimit -n) and at what listens there"
        yield DoctorRow(_SECTION, name, "bad", "it can open no port for the others", remedy)
    found: dict[tuple[str, str, str], dict[str, Any]] = {}
    for distance in range(1, len(hosts)):
        pairs = [(host, hosts[(place + distance) % len(hosts)]) for place, host in enumerate(hosts)]
        for number in range(max(map(len, doors.values()))):
            for host, other in pairs:
                _knock(host, other, doors[other.name], number)
            for host, other in pairs:
                if number < len(doors[other.name]):
                    found[host.name, other.name, doors[other.name][number].what] = _taken(host)
    open_ways = {way: answer for way, answer in found.items() if answer.get("known")}
    wrong = {way: answer for way, answer in found.items() if way not in open_ways}
    yield from _wrong_ways(hosts, wrong)
    if found and not wrong:
        tried = f"port {port} and on others" if any(way[2] != _OTHERS for way in found) else "ports the system chooses"
        says = f"all {len({way[:2] for way in found})} ways are open, on {tried}"
        yield DoctorRow(_SECTION, "ports", "good", says)
    yield from _latency(open_ways)
    yield from _bandwidth(hosts, doors, open_ways)


def _wrong_ways(hosts: Sequence[_Host], wrong: Mapping[tuple[str, str, str], Mapping[str, Any]]) -> Iterator[DoctorRow]:
    """A row for each way that is not open, for all ports at once, and one for a host that has no way to any other."""
    pairs = {(host.name, other.name) for host in hosts for other in hosts if host is not other}
    shut = {pair for pair in pairs if sum(way[:2] == pair for way in wrong) > 1}
    alone = [host.name for host in hosts if all(pair in shut for pair in pairs if host.name in pair)]
    lonely = alone if len(hosts) > 2 and len(alone) < len(hosts) else []  # noqa: PLR2004 - of two, both are alone
    for name in lonely:
        way = next(way for way in wrong if way[0] == name)
        row = _stopped(*way, wrong[way], hosts)
        says = f"it reaches none of the others, and none of them reaches it: {row.found}"
        yield DoctorRow(_SECTION, name, "bad", says, row.remedy)
    for host, other in dict.fromkeys(way[:2] for way in wrong if not {way[0], way[1]} & set(lonely)):
        of_pair = {way[2]: answer for way, answer in wrong.items() if way[:2] == (host, other)}
        reasons = {(answer.get("answer"), answer.get("detail")) for answer in of_pair.values()}
        if len(reasons) == 1:
            yield _stopped(host, other, " and ".join(of_pair), next(iter(of_pair.values())), hosts)
        else:
            yield from (_stopped(host, other, what, answer, hosts) for what, answer in of_pair.items())


def _opened(host: _Host, port: int) -> Iterator[_Door]:
    """The port where nodes meet, unless somebody has it, and one that the system chooses, as for what ranks send each other."""
    for number, what in ((port, f"port {port}"), (0, _OTHERS)):
        token = os.urandom(16).hex()
        answer = _asked(host, do="open", port=number, token=token)
        if isinstance(answer.get("port"), int):
            yield _Door(answer["port"], token, what)


def _knock(host: _Host, other: _Host, doors: Sequence[_Door], number: int) -> None:
    if number < len(doors):
        door = doors[number]
        host.hand.ask(do="reach", to=other.name, port=door.port, token=door.token)


def _stopped(host: str, other: str, what: str, answer: Mapping[str, Any], hosts: Sequence[_Host]) -> DoctorRow:
    """Why a way is not open."""
    name = f"{host} to {other}"
    reason: Any = answer.get("answer", "filtered")
    detail = answer.get("detail") or answer.get("error") or ""
    if reason == "unknown name":
        known: Sequence[str] = next((one.facts["addresses"] for one in hosts if one.name == other), [])
        remedy = f"enter it in /etc/hosts of {host}, or name addresses: --hosts {','.join(known[:1]) or 'ADDRESS'},..."
        return DoctorRow(_SECTION, name, "bad", f"{host} does not know the name {other}", remedy)
    if reason == "open":
        says = f"something else answers at {what} of {other}: {detail}"
        return DoctorRow(
            _SECTION, name, "bad", says, "two machines have this name or address, or a proxy is between them"
        )
    if reason == "closed":
        # We listen there: the answer comes from something on the way.
        says = f"{what} of {other} is refused, although it is open there: {detail}"
        remedy = "a firewall refuses it, or the name means another machine: let nodes reach each other on every port"
        return DoctorRow(_SECTION, name, "bad", says, remedy)
    return DoctorRow(_SECTION, name, "bad", f"{what} of {other}: {reason}, {detail}", reach_advice(reason))


def _latency(ways: Mapping[tuple[str, str, str], Mapping[str, Any]]) -> Iterator[DoctorRow]:
    if not ways:
        return
    slowest = max(ways, key=lambda way: ways[way]["latency"])
    longest, shortest = ways[slowest]["latency"], min(answer["latency"] for answer in ways.values())
    says = f"{shortest * 1000:.2f} to {longest * 1000:.2f} ms there and back, the longest {slowest[0]} to {slowest[1]}"
    late = longest > _FAR
    remedy = "they are far from each other: pipelines bear that, sharded weights and tensor parallelism do not" * late
    yield DoctorRow(_SECTION, "latency", "warning" if late else "good", says, remedy)


def _bandwidth(
    hosts: Sequence[_Host],
    doors: Mapping[str, Sequence[_Door]],
    ways: Mapping[tuple[str, str, str], Mapping[str, Any]],
) -> Iterator[DoctorRow]:
    """How much goes from each host to the next one, one after another, for they may share a line."""
    rates: dict[str, float] = {}
    for place, host in enumerate(hosts):
        other = hosts[(place + 1) % len(hosts)]
        door = next((door for door in doors[other.name] if (host.name, other.name, door.what) in ways), None)
        if door is None:
            continue
        answer = _asked(host, do="reach", to=other.name, port=door.port, token=door.token, bandwidth=True)
        name = f"{host.name} to {other.name}"
        if answer.get("stalled"):
            says = f"small messages arrive and large ones do not: {answer.get('detail')}"
            yield DoctorRow(_SECTION, name, "bad", says, _MTU)
        elif isinstance(answer.get("bandwidth"), float):
            rates[name] = answer["bandwidth"]
    if not rates:
        return
    slowest = min(rates, key=lambda name: rates[name])
    says = f"{shown_rate(rates[slowest])} {slowest}" + (", the slowest" if len(rates) > 1 else "")
    slow = rates[slowest] < _SLOW
    remedy = "slower than Gigabit Ethernet: a cable rather than WiFi; pipelines and LoRA need least (forge plan)" * slow
    yield DoctorRow(_SECTION, "bandwidth", "warning" if slow else "good", says, remedy)


def _asked(host: _Host, **question: Any) -> dict[str, Any]:
    host.hand.ask(**question)
    return _taken(host)


def _taken(host: _Host) -> dict[str, Any]:
    """The next answer; that there is none is an answer too."""
    try:
        return host.hand.take(_ANSWERS)
    except ToolError as error:
        return {"error": error.what}
