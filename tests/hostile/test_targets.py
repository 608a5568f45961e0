from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from forge.base.errors import PolicyError, TargetError
from forge.build.locate import locate
from forge.graph.policy import default_policy

HERE = Path(__file__).parent
TARGETS = [line for line in (HERE / "targets.txt").read_text().splitlines() if line and not line.startswith("#")]

# Names that try to look like an allowed one, or to be read differently by whoever checks and whoever imports.
TRICKS = [
    *(
        " os.system",
        "os.system ",
        "os.system\n",
        "\nos.system",
        "os .system",
        "os. system",
        "os\t.system",
        "os\0.system",
    ),
    *(
        "torch.optim.AdamW\n",
        "torch.optim.AdamW ",
        " torch.optim.AdamW",
        "torch.optim.AdamW\0",
        "torch.optim.AdamW\nos.system",
    ),
    *(
        "torch.optim.AdamW;os.system",
        "torch.optim.AdamW,os.system",
        "torch.optim.AdamW()",
        "torch.optim.AdamW#",
        "torch/optim/AdamW",
    ),
    *(
        "torch.optim.\u0410damW",
        "t\u043erch.optim.AdamW",
        "torch.optim.\uff21damW",
        "torch\u2024optim\u2024AdamW",
        "torch\uff0eoptim\uff0eAdamW",
    ),
    *(
        "builtins.di\u1d9ct",
        "builtins.\U0001d41dict",
        "builtins.d\u0131ct",
        "builtins.dict\u200b",
        "\u202ebuiltins.dict",
        "builtins.e\u0301xec",
    ),
    *("", ".", "..", "...", "os", ".os.system", "os..system", "os.system.", "torch..optim.AdamW", ".torch.optim.AdamW"),
    *(
        "torch.optim.AdamW.",
        "torch.optim.",
        "torch.",
        "torch",
        "torch.optim",
        "torch.nn",
        "transformers",
        "forge.ml",
        "builtins",
    ),
    *(
        "torch.optim.AdamW.__init__.__globals__",
        "torch.optim.AdamW.__class__",
        "torch.optim.__builtins__",
        "torch.nn.Module.__subclasses__",
    ),
    *(
        "builtins.dict.__class__.__base__.__subclasses__",
        "builtins.str.__init__",
        "collections.OrderedDict.__reduce__",
        "math.__loader__",
    ),
    *(
        "math.__loader__.load_module",
        "math.__spec__.loader",
        "datetime.timedelta.__reduce__",
        "torch.__builtins__.exec",
        "torch.nn.__dict__",
    ),
    *(
        "forge.ml.data.__init__.os",
        "forge.ml.data.__loader__",
        "forge.ml.__builtins__",
        "forge.ml.data._private",
        "forge.ml._x.Class",
    ),
    *(
        "torch.optim._functional.AdamW",
        "torch.optim._AdamW",
        "torch._C.Device",
        "_torch.optim.AdamW",
        "torch.optim.AdamW._init_group",
    ),
    *(
        "torch.optim.1AdamW",
        "torch.optim.-AdamW",
        "torch.optim.Adam-W",
        "torch.optim.*",
        "torch.*.AdamW",
        "*",
        "**",
        "torch.optim.<Class>",
    ),
    *(
        "${os.system}",
        "os:system",
        "os::system",
        "os/system",
        "os\\system",
        "lambda: 0",
        "eval('1')",
        "__import__('os').system",
    ),
    *(
        "x" * 300,
        "torch.optim." + "A" * 300,
        "forge.ml.data." + "a." * 5000 + "a",
        "os." * 1000 + "system",
        "TORCH.OPTIM.ADAMW",
        "Builtins.dict",
    ),
]


def under_audit(targets: list[str], tmp_path: Path, allow: tuple[str, ...] = ()) -> dict[str, Any]:
    asked = {"targets": targets, "allow": allow, "marker": str(tmp_path / "marker")}
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent.parent), "PYTHONDONTWRITEBYTECODE": "1"}
    process = subprocess.run(
        [sys.executable, str(HERE / "under_audit.py")],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=tmp_path,
        env=environment,
    )
    assert process.returncode == 0, process.stderr
    answer: dict[str, Any] = json.loads(process.stdout)
    return answer


def test_hostile_targets_are_refused_without_any_effect_or_import(tmp_path: Path) -> None:
    targets = [*TARGETS, *TRICKS]
    assert len(set(targets)) == len(targets) >= 300
    happened = under_audit(targets, tmp_path)
    assert happened["not_refused"] == []
    assert happened["events"] == []
    assert happened["imported"] == []
    assert happened["unchanged"]
    assert happened["attempts"] == 5 * len(targets)
    assert list(tmp_path.iterdir()) == []


def test_the_audit_sees_an_effect_when_a_user_allows_one(tmp_path: Path) -> None:
    happened = under_audit(["tempfile.mkdtemp"], tmp_path, allow=("tempfile.mkdtemp",))
    assert happened["not_refused"]
    assert any(event.startswith("os.mkdir") for event in happened["events"])
    assert "tempfile" in happened["imported"]


@pytest.mark.torch
@pytest.mark.parametrize(
    "target",
    [
        "torch.optim.lr_scheduler.Counter",
        "torch.optim.lr_scheduler.Any",
        "torch.utils.data.Sequence",
        "torch.nn.Any",
    ],
)
def test_allowed_names_do_not_lead_to_foreign_objects(target: str) -> None:
    policy = default_policy()
    policy.check_name(target)
    # TargetError: the module does not hold that name (any longer); it must not be found either way.
    with pytest.raises((PolicyError, TargetError)):
        locate(target, policy)


@pytest.mark.torch
def test_every_object_of_the_allowed_torch_modules_comes_from_torch() -> None:
    import importlib

    policy, accepted = default_policy(), 0
    for module in ("torch", "torch.nn", "torch.nn.init", "torch.optim", "torch.optim.lr_scheduler", "torch.utils.data"):
        for name, value in vars(importlib.import_module(module)).items():
            if not policy.allows(f"{module}.{name}"):
                continue
            try:
                policy.check_object(f"{module}.{name}", value)
            except PolicyError:
                continue
            if type(value) in {bool, int, float, str}:
                continue
            accepted += 1
            home = getattr(value, "__module__", None) or type(value).__module__
            assert home.startswith("torch"), (module, name, home)
    assert accepted > 250
