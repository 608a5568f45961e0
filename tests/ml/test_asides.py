"""What libraries say in passing does not reach users; everything else of them does."""

from __future__ import annotations

import logging
import subprocess
import sys
from types import SimpleNamespace

import pytest

import forge.ml  # noqa: F401 - which keeps them

LOAD = "Failed to load /x/_C_mxfp8.so: Could not load this library"
ENUM = "<enum 'K'> is an Enum subclass and is now natively supported by torch.compile as an opaque value type."


@pytest.mark.parametrize(
    ("cuda", "logger", "text", "heard"),
    [
        (None, "torchao", LOAD, False),
        ("13.0", "torchao", LOAD, True),
        (None, "torchao", "Skipping import of cpp extensions", True),
        ("13.0", "torch.utils._pytree", ENUM, False),
        (None, "torch.utils._pytree", "another warning", True),
        (None, "torchao.quantization", LOAD, True),
    ],
)
def test_only_these_words_are_kept_back(
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    cuda: str | None,
    logger: str,
    text: str,
    *,
    heard: bool,
) -> None:
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(version=SimpleNamespace(cuda=cuda)))
    with caplog.at_level(logging.WARNING, logger):
        logging.getLogger(logger).warning("%s", text)
    assert (text in caplog.text) is heard


def test_it_costs_no_torch() -> None:
    program = "import sys, forge.ml; print('torch' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "False\n"
    )
