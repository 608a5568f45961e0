from __future__ import annotations

import pytest

from forge.doctor.row import DoctorRow, row_data, row_of

ROW = DoctorRow("network", "gloo takes", "warning", "lo", "export GLOO_SOCKET_IFNAME=eth0")


def test_a_row_travels_as_plain_data() -> None:
    data = row_data(ROW)
    assert data["remedy"] == "export GLOO_SOCKET_IFNAME=eth0"
    assert row_of(data, "hal") == DoctorRow(**{**data, "host": "hal"})


@pytest.mark.parametrize(
    "wrong", [{}, {"section": "network"}, {"section": "x", "verdict": "good"}, {"verdict": ["good"]}]
)
def test_what_is_no_row_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises((ValueError, TypeError)):
        row_of(wrong, "hal")
