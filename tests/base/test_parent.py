from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

from forge.control.processes import identity

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process of its parent's end")

CHILD = "import time, signal; from forge.base.parent import end_with_parent; end_with_parent(signal.SIGKILL); print('here', flush=True); time.sleep(60)"
PARENT = f"""
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", {CHILD!r}], stdout=subprocess.PIPE, start_new_session=True)
child.stdout.readline()
print(child.pid, flush=True)
time.sleep(60)
"""
GRANDPARENT = """
import os, subprocess, sys
from forge.base.parent import adopt_orphans
adopt_orphans()
quick = "import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', 'import os, time; time.sleep(0.2); print(os.getppid(), flush=True)']).pid, flush=True)"
child = subprocess.Popen([sys.executable, "-c", quick], stdout=subprocess.PIPE, text=True)
child.stdout.readline()
print(child.stdout.readline().strip() == str(os.getpid()))
"""


def test_a_process_ends_with_its_parent() -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    assert identity(pid) is not None
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    end = time.monotonic() + 10
    while identity(pid) is not None:
        assert time.monotonic() < end
        time.sleep(0.02)


def test_an_orphan_comes_to_its_grandparent() -> None:
    done = subprocess.run([sys.executable, "-c", GRANDPARENT], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout == "True\n"
