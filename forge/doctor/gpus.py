"""The health of the GPUs, as nvidia-smi tells it: who is on them, how hot they are, what slows them down, memory errors."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from forge.base.sizes import shown_size
from forge.doctor.row import DoctorRow
from forge.launch.preflight_devices import devices_here, run_query

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["gpu_rows"]

_SECTION: Final = "GPUs"
_FIELDS: Final = ("index", "name", "uuid", "driver_version", "memory.total", "memory.used", "temperature.gpu")
_ERRORS: Final = ("ecc.errors.uncorrected.volatile.total",)
# Two names of one thing: the later drivers do not know the earlier one for ever, nor the others the later.
_BRAKES: Final = ("clocks_event_reasons.active", "clocks_throttle_reasons.active")
_HARD: Final = {0x08: "a hardware slowdown", 0x40: "heat", 0x80: "a power brake"}
_SOFT: Final = {0x20: "heat, by its driver", 0x10: "another GPU that it keeps pace with"}
_HOT: Final = 85
_TAKEN: Final = 500  # MiB that no idle GPU takes
_MIB: Final = 1 << 20
_NUMBER: Final = re.compile(r"\d+")


def gpu_rows() -> list[DoctorRow]:
    """A row for all that is well, and one for each thing that is not."""
    cards = _query(_FIELDS)
    if cards is None:
        return [_none()]
    rows = [_summary(cards), *_heat(cards), *_errors(), *_brakes(), *_company(cards)]
    drivers = {card["driver_version"] for card in cards}
    if len(drivers) > 1:
        rows.append(
            DoctorRow(_SECTION, "driver", "bad", f"several: {', '.join(sorted(drivers))}", "restart the machine")
        )
    return rows


def _none() -> DoctorRow:
    here = devices_here()
    if here.gpus:
        says = f"{here.gpus} GPUs are here, and nvidia-smi is missing or does not answer"
        return DoctorRow(
            _SECTION, "GPUs", "bad", says, "look at `nvidia-smi` itself; a driver that hangs needs a restart"
        )
    says = "none here" if here.gpus == 0 else "none of NVIDIA; those of others are not looked at"
    return DoctorRow(_SECTION, "GPUs", "good", says)


def _query(fields: Sequence[str]) -> list[dict[str, str]] | None:
    """These fields of each GPU; None where nvidia-smi is missing, fails, or does not know them."""
    text = run_query(["nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits"])
    if text is None:
        return None
    rows = [[word.strip() for word in line.split(",")] for line in text.splitlines() if line.strip()]
    return [dict(zip(fields, row, strict=True)) for row in rows if len(row) == len(fields)] or None


def _summary(cards: Sequence[Mapping[str, str]]) -> DoctorRow:
    kinds = sorted({card["name"] for card in cards})
    sizes = sorted({_whole(card["memory.total"]) * _MIB for card in cards})
    memory = " to ".join(shown_size(size) for size in dict.fromkeys((sizes[0], sizes[-1])))
    says = f"{len(cards)} x {', '.join(kinds)}, {memory}, driver {cards[0]['driver_version']}"
    if len(kinds) > 1:
        return DoctorRow(
            _SECTION, "GPUs", "warning", says, "the slowest holds up the others: -d names those that are alike"
        )
    return DoctorRow(_SECTION, "GPUs", "good", says)


def _heat(cards: Sequence[Mapping[str, str]]) -> Iterator[DoctorRow]:
    hottest = max(_whole(card["temperature.gpu"]) for card in cards)
    hot = [card["index"] for card in cards if _whole(card["temperature.gpu"]) >= _HOT]
    says = f"at most {hottest} degrees"
    if hot:
        yield DoctorRow(
            _SECTION, "temperature", "warning", f"{says}: GPU {', '.join(hot)}", "look at its fans and its air"
        )
    else:
        yield DoctorRow(_SECTION, "temperature", "good", says)


def _errors() -> Iterator[DoctorRow]:
    cards = _query(("index", *_ERRORS))
    counted = {card["index"]: _whole(card[_ERRORS[0]]) for card in cards or () if card[_ERRORS[0]].isdecimal()}
    if not counted:
        yield DoctorRow(_SECTION, "memory errors", "good", "not counted by these GPUs")
        return
    wrong = [f"GPU {index}: {count}" for index, count in counted.items() if count]
    if wrong:
        remedy = "leave it out with -d, restart the machine, and have it replaced if they come back"
        yield DoctorRow(_SECTION, "memory errors", "bad", f"uncorrected, {', '.join(wrong)}", remedy)
    else:
        yield DoctorRow(_SECTION, "memory errors", "good", "none since the start")


def _brakes() -> Iterator[DoctorRow]:
    """What slows the GPUs down now; at rest they go slowly by themselves."""
    for field in _BRAKES:
        cards = _query(("index", field))
        if cards is None:
            continue
        masks = {card["index"]: _mask(card[field]) for card in cards}
        hard = [f"GPU {index} by {why}" for index, mask in masks.items() for bit, why in _HARD.items() if mask & bit]
        soft = [f"GPU {index} by {why}" for index, mask in masks.items() for bit, why in _SOFT.items() if mask & bit]
        if hard or soft:
            remedy = "look at its cooling and its power supply: nvidia-smi -q -d PERFORMANCE"
            yield DoctorRow(_SECTION, "slowed down", "bad" if hard else "warning", ", ".join(hard or soft), remedy)
        else:
            yield DoctorRow(_SECTION, "slowed down", "good", "none")
        return


def _company(cards: Sequence[Mapping[str, str]]) -> Iterator[DoctorRow]:
    """Processes that are on the GPUs already; inside a container their names are not seen, and the memory is."""
    text = run_query(
        ["nvidia-smi", "--query-compute-apps=gpu_uuid,pid,process_name,used_memory", "--format=csv,noheader,nounits"]
    )
    numbers = {card["uuid"]: card["index"] for card in cards}
    rows = [[word.strip() for word in line.split(",")] for line in (text or "").splitlines() if line.strip()]
    seen = [f"GPU {numbers.get(row[0], '?')}: process {row[1]} ({row[2]})" for row in rows if len(row) > 2]  # noqa: PLR2004
    taken = [
        f"GPU {card['index']}: {shown_size(_whole(card['memory.used']) * _MIB)}"
        for card in cards
        if _whole(card["memory.used"]) > _TAKEN
    ]
    if not seen and not taken:
        yield DoctorRow(_SECTION, "in use", "good", "by nobody")
        return
    says = ", ".join(seen) if seen else f"memory is taken, {', '.join(taken)}"
    yield DoctorRow(
        _SECTION, "in use", "warning", says, "end what is left of an earlier run (`forge jobs`), or take others: -d"
    )


def _whole(text: str) -> int:
    found = _NUMBER.match(text)
    return int(found[0]) if found else 0


def _mask(text: str) -> int:
    try:
        return int(text, 16)
    except ValueError:
        return 0
