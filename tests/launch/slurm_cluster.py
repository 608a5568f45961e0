"""A Slurm of our own on this machine: controller, munge and virtual nodes, from Debian's slurm-wlm and munge, as root.

python tests/launch/slurm_cluster.py up FOLDER [NODES]      # prints the line that makes it the Slurm of a shell
python tests/launch/slurm_cluster.py down FOLDER
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "squeue", "scancel", "sinfo")
CONFIG = """\
ClusterName=forge
SlurmctldHost=localhost
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/run/munge.socket
StateSaveLocation={folder}/ctl
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/run/slurmctld.pid
SlurmdPidFile={folder}/run/slurmd.%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/linux
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerType=sched/backfill
SlurmdParameters=config_overrides
ReturnToService=2
SwitchType=switch/none
JobRequeue=1
KillWait=5
MinJobAge=3600
InactiveLimit=0
Waittime=0
SchedulerParameters=batch_sched_delay=1,sched_interval=2,bf_interval=2
"""


def missing() -> str:
    """Why there can be no Slurm here; empty when there can."""
    if os.geteuid() != 0:
        return "it takes root"
    absent = [name for name in PROGRAMS if _program(name) is None]
    return f"{', '.join(absent)}: apt-get install slurm-wlm munge" if absent else ""


def _program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")


def up(folder: Path, nodes: int = 2, port: int = 16817) -> str:
    """Start it and wait until its nodes are idle; the path of its configuration, for SLURM_CONF."""
    for name in ("ctl", "log", "run", *(f"spool/n{number}" for number in range(1, nodes + 1))):
        (folder / name).mkdir(parents=True, exist_ok=True)
    lines = [
        f"NodeName=n{number} NodeHostname=localhost NodeAddr=127.0.0.1 Port={port + number} CPUs=4 RealMemory=8000"
        for number in range(1, nodes + 1)
    ]
    lines.append(f"PartitionName=main Nodes=n[1-{nodes}] Default=YES MaxTime=INFINITE State=UP")
    config = folder / "slurm.conf"
    config.write_text(CONFIG.format(folder=folder, port=port) + "\n".join(lines) + "\n")
    key = folder / "munge.key"
    if not key.exists():
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
    _start(folder, "munged", "--force", f"--key-file={key}", *_munge(folder))
    _start(folder, "slurmctld", "-c")
    for number in range(1, nodes + 1):
        _start(folder, "slurmd", "-N", f"n{number}")
    _until_idle(folder, nodes)
    return str(config)


def _munge(folder: Path) -> list[str]:
    places = {"socket": "munge.socket", "pid-file": "munged.pid", "seed-file": "munge.seed", "log-file": "munged.log"}
    return [f"--{name}={folder}/run/{file}" for name, file in places.items()]


def _start(folder: Path, name: str, *words: str) -> None:
    command = [_program(name) or name, *words]
    subprocess.run(command, check=True, env={**os.environ, "SLURM_CONF": f"{folder}/slurm.conf"}, timeout=60)


def _until_idle(folder: Path, nodes: int) -> None:
    end = time.monotonic() + 60
    environment = {**os.environ, "SLURM_CONF": f"{folder}/slurm.conf"}
    while time.monotonic() < end:
        said = subprocess.run(
            ["sinfo", "-h", "-N", "-t", "idle", "-o", "%N"],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if len(said.stdout.split()) == nodes:
            return
        time.sleep(0.2)
    raise TimeoutError(f"the nodes of {folder} do not become idle: see {folder}/log")


def down(folder: Path) -> None:
    """End it, with the jobs that are left."""
    environment = {**os.environ, "SLURM_CONF": f"{folder}/slurm.conf"}
    subprocess.run(["scancel", "--full", "--user=root", "--signal=KILL"], env=environment, check=False, timeout=60)
    end = time.monotonic() + 15
    while (
        time.monotonic() < end
        and subprocess.run(["squeue", "-h"], env=environment, capture_output=True, check=False).stdout
    ):
        time.sleep(0.2)
    for name in ("slurmd.*", "slurmctld", "munged"):
        for file in (folder / "run").glob(f"{name}.pid"):
            pid = int(file.read_text())
            try:
                os.kill(pid, signal.SIGTERM)
            except ProcessLookupError:
                continue
            _wait_for(pid)


def _wait_for(pid: int) -> None:
    end = time.monotonic() + 15
    while Path(f"/proc/{pid}").exists() and time.monotonic() < end:
        time.sleep(0.05)
    if Path(f"/proc/{pid}").exists():
        os.kill(pid, signal.SIGKILL)


def main() -> None:
    """Start or end the one in a folder."""
    verb, folder = sys.argv[1], Path(sys.argv[2]).resolve()
    if verb == "down":
        down(folder)
        return
    if why := missing():
        sys.exit(f"there can be no Slurm here: {why}")
    config = up(folder, int(sys.argv[3]) if len(sys.argv) > 3 else 2)
    sys.stdout.write(f"export SLURM_CONF={config}\n")


if __name__ == "__main__":
    main()
