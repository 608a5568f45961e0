from __future__ import annotations

import shlex
import sys

import pytest

from forge.base.errors import UsageError
from forge.launch.local import local_launch


def test_the_command_can_be_pasted() -> None:
    launch = local_launch("out put/runs/x", None)
    assert shlex.split(str(launch)) == [sys.executable, "-m", "forge.ml.train", "out put/runs/x"]
    assert launch.environment == {}


@pytest.mark.parametrize(("devices", "visible"), [("cpu", ""), ("0", "0"), ("3", "3")])
def test_a_device_is_chosen_by_what_the_process_sees(devices: str, visible: str) -> None:
    launch = local_launch("run", devices)
    assert launch.environment == {"CUDA_VISIBLE_DEVICES": visible}
    assert str(launch).startswith(f"CUDA_VISIBLE_DEVICES={visible} ")


@pytest.mark.parametrize("devices", ["0,1", "gpu", "", "-1", "0,"])
def test_what_is_no_single_device_is_refused(devices: str) -> None:
    with pytest.raises(UsageError):
        local_launch("run", devices)
