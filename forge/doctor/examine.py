"""Everything that the doctor looks at on one machine."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from forge.base.errors import UsageError
from forge.doctor.around import around_rows
from forge.doctor.gpus import gpu_rows
from forge.doctor.link_speed import SpeedListener, measure_link
from forge.doctor.machine import machine_rows
from forge.doctor.model_folder import model_rows
from forge.doctor.network import endpoint_row, name_rows, network_rows
from forge.doctor.row import DoctorRow
from forge.doctor.software import installed, software_rows
from forge.doctor.storage import storage_rows
from forge.launch.address import Endpoint, endpoint_of
from forge.launch.preflight_network import gloo_pick, interfaces
from forge.launch.surroundings import MASTER_PORT, surroundings

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["MEETING_PORT", "DoctorsWish", "examine_here", "host_facts", "shown_rate"]

MEETING_PORT: Final = 29400
"""Where torchrun's nodes meet unless another port is named."""


class DoctorsWish(NamedTuple):
    """What to look at: the folder of runs, the port and the place where nodes meet, a model's folder."""

    folder: str
    port: int = MEETING_PORT
    endpoint: str = ""
    model: str = ""


def examine_here(wish: DoctorsWish, *, alone: bool = True) -> list[DoctorRow]:
    """Every row of this machine; ``alone`` adds how quickly it talks with itself."""
    rows = [*software_rows(), *name_rows(), *network_rows(wish.port)]
    if alone:
        rows.append(_loopback())
    endpoint = _endpoint(wish, os.environ)
    if endpoint is not None:
        rows.append(endpoint_row(endpoint))
    rows += [*storage_rows(wish.folder), *(model_rows(wish.model) if wish.model else [])]
    return [*rows, *machine_rows(), *gpu_rows(), *around_rows()]


def host_facts() -> dict[str, Any]:
    """What is compared between hosts."""
    found = interfaces()
    pick = gloo_pick(os.environ, found)
    out = [one for one in found if one.leads_out]
    return {
        "versions": installed(),
        "addresses": [one.address for one in out],
        "mtu": {one.name: one.mtu for one in out},
        "gloo": pick.address,
    }


def shown_rate(rate: float) -> str:
    """``1.2 GB/s``."""
    from forge.base.sizes import shown_size

    return f"{shown_size(rate)}/s"


def _loopback() -> DoctorRow:
    """How quickly processes of this machine talk over TCP, as gloo lets them."""
    token = os.urandom(16).hex()
    listener = SpeedListener(token)
    try:
        found = measure_link(Endpoint("127.0.0.1", listener.port), token)
    finally:
        listener.close()
    if found.bandwidth is None:
        says = f"this machine does not reach itself at 127.0.0.1: {found.detail or found.answer}"
        return DoctorRow("network", "loopback", "bad", says, "ip link set lo up; a firewall may keep it from itself")
    return DoctorRow("network", "loopback", "good", f"{found.latency * 1000:.2f} ms, {shown_rate(found.bandwidth)}")


def _endpoint(wish: DoctorsWish, environment: Mapping[str, str]) -> Endpoint | None:
    """The place that was asked for, or the one that the variables name."""
    if wish.endpoint:
        return endpoint_of(wish.endpoint, wish.port)
    try:
        found = surroundings(environment)
    except UsageError:
        return None  # a row of its own says that
    facts = found.values()
    if not found.several or not (where := facts.get("rdzv-endpoint") or facts.get("master-addr")):
        return None
    port = facts.get("master-port", "")
    try:
        return endpoint_of(where, int(port) if port.isdecimal() else MASTER_PORT)
    except UsageError:
        return None
