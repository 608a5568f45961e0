"""A test that hangs ends, and says where it hung: also one that hangs where no exception of Python reaches it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
HURRIED = "import conftest\nconftest.SPARE = 1\n"
HANGS = """\
import ctypes

def test_that_hangs():
    lock, library = ctypes.create_string_buffer(64), ctypes.CDLL(None)
    library.pthread_mutex_lock(lock)
    library.pthread_mutex_lock(lock)

def test_after_it():
    pass
"""


@pytest.mark.slow
def test_a_test_that_hangs_in_c_ends_and_says_where(tmp_path: Path) -> None:
    (tmp_path / "hurried.py").write_text(HURRIED)
    (tmp_path / "test_some.py").write_text(HANGS)
    plugins = ("-p", "conftest", "-p", "hurried", "-p", "no:cacheprovider")
    settings = ("-n", "1", "-o", "timeout=1", "-c", TESTS.parent / "pyproject.toml", "--rootdir", tmp_path)
    found = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *plugins, *settings, tmp_path],
        env={**os.environ, "PYTHONPATH": f"{TESTS}:{tmp_path}:{TESTS.parent}"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert found.returncode == 1
    assert 'test_some.py", line 6 in test_that_hangs' in found.stderr
    assert "crashed while running" in found.stdout
    assert "1 failed, 1 passed" in found.stdout
